/* Karpathy's microGPT on one core of a CPU, one document after the other, in float32: what GPTLoom's
 * hardware is compared with. Everything here is for the time of a single token.
 *
 * - What depends on a token and its position only is looked up (Front): the model has one layer.
 * - Matrices with nothing but a sum between them are one matrix (Model); a norm before ReLU is a
 *   positive factor after it.
 * - Four cached positions are attended in one go. There is no maximum before the softmax: whoever
 *   packs the model makes sure that no score can be too large.
 * - A token is the largest logit with Gumbel noise, which is made before the logits are there.
 *
 * Vectors are as wide as the CPU's registers (GCC's vector extensions, clang has them too); all
 * arrays are aligned to 64 bytes and hold a row for every input.
 */

#include <stdint.h>
#include <string.h>

enum { TOKENS = 27, END = 26, CONTEXT = 16, WIDTH = 16, HIDDEN = 64, LOGITS = 32 };

#if defined(__AVX512F__)
enum { LANES = 16 };
#define FOURS(a, b, c, d) \
    a, b, c, d, a + 4, b + 4, c + 4, d + 4, a + 8, b + 8, c + 8, d + 8, a + 12, b + 12, c + 12, d + 12
#elif defined(__AVX__)
enum { LANES = 8 };
#define FOURS(a, b, c, d) a, b, c, d, a + 4, b + 4, c + 4, d + 4
#else
enum { LANES = 4 };
#define FOURS(a, b, c, d) a, b, c, d
#endif
/* Of every four lanes of x, then of y, which four; a head's queries, keys and values are four. */
#define IN_FOURS(x, y, a, b, c, d) __builtin_shufflevector(x, y, FOURS(a, b, c, d))
#define X(lane) (lane)
#define Y(lane) (LANES + (lane))

typedef float Vector __attribute__((vector_size(4 * LANES)));
typedef int32_t Integers __attribute__((vector_size(4 * LANES)));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES)));

enum { WIDE = WIDTH / LANES, HIGH = HIDDEN / LANES, DEEP = LOGITS / LANES };

/* A vector of the model, as the parts that registers hold and as single numbers. */
typedef union { Vector part[WIDE]; float at[WIDTH]; } Wide;
typedef union { Vector part[HIGH]; float at[HIDDEN]; } High;
typedef union { Vector part[DEEP]; Integers bits[DEEP]; float at[LOGITS]; } Deep;

/* All parts; without loops, so that they stay in registers. */
#define EVERY(i, count) _Pragma("GCC unroll 16") for (int i = 0; i < (count); i++)

/* Loads of single numbers broadcast them for nothing; compilers would take registers apart. */
#define IN_MEMORY(x) __asm__("" : "+m"(x))

/* What depends on a token and its position only. */
typedef struct {
    Wide x;      /* the residual stream */
    Wide query;  /* in units of log2 */
    Wide key;
    Wide value;
    High hidden; /* fc1 x */
    Deep logits; /* lm_head x; those of no token are very low */
} Front;

/* Matrices, a row for every input. */
typedef struct {
    Front front[TOKENS][CONTEXT];
    Wide out_x[WIDTH];          /* Wo */
    High out_hidden[WIDTH];     /* fc1 Wo */
    Deep out_logits[WIDTH];     /* lm_head Wo */
    Deep hidden_logits[HIDDEN]; /* lm_head fc2 */
} Model;

typedef struct {
    Wide key[CONTEXT];
    Wide value[CONTEXT];
} Cache;

/* 2**x for |x| < 126. */
static inline Vector exp2_of(Vector x) {
    Integers whole = __builtin_convertvector(x, Integers);
    Vector f = x - __builtin_convertvector(whole, Vector), f2 = f * f;
    Vector power = (1.000000142e+00f + f * 6.931485924e-01f) + f2 * (2.402239719e-01f + f * 5.549173924e-02f) +
                   (f2 * f2) * ((9.624285077e-03f + f * 1.359366782e-03f) + f2 * 1.514119605e-04f);
    return (Vector)((Integers)power + (whole << 23));
}

/* log2(x) for x > 0, with a relative error that stays small near 1. */
static inline Vector log2_of(Vector x) {
    Integers whole = ((Integers)x - 0x3f3504f3) >> 23; /* mantissas from sqrt(1/2) to sqrt(2) */
    Vector t = (Vector)((Integers)x - (whole << 23)) - 1.0f, t2 = t * t;
    Vector slope = (1.442695966f + t * -0.7213613680f) +
                   t2 * (0.4806920536f + t * -0.3594895381f) +
                   (t2 * t2) * ((0.2945910133f + t * -0.2679114346f) + t2 * 0.1745263333f);
    return __builtin_convertvector(whole, Vector) + t * slope;
}

/* Gumbel noise, but for a constant, from xorshift32 in every lane. */
static inline Deep draw_noise(Bits state[DEEP]) {
    Deep noise;
    EVERY(i, DEEP) {
        Bits s = state[i];
        s ^= s << 13;
        s ^= s >> 17;
        s ^= s << 5;
        state[i] = s;
        Vector steps = __builtin_convertvector((Integers)(s >> 9), Vector);
        noise.part[i] = -0.69314718f * log2_of(-log2_of((steps + 0.5f) * 0x1p-23f));
    }
    return noise;
}

/* Sums of every four lanes, in all four. */
static inline Vector sum_in_fours(Vector x) {
    x += IN_FOURS(x, x, X(1), X(0), X(3), X(2));
    return x + IN_FOURS(x, x, X(2), X(3), X(0), X(1));
}

/* Numerators of four keys' softmax: those of a head side by side. */
static inline Vector numerators(Vector query, const Wide key[4], int i) {
    Vector a = query * key[0].part[i], b = query * key[1].part[i];
    Vector c = query * key[2].part[i], d = query * key[3].part[i];
    Vector ab = IN_FOURS(a, b, X(0), Y(0), X(1), Y(1)) + IN_FOURS(a, b, X(2), Y(2), X(3), Y(3));
    Vector cd = IN_FOURS(c, d, X(0), Y(0), X(1), Y(1)) + IN_FOURS(c, d, X(2), Y(2), X(3), Y(3));
    return exp2_of(IN_FOURS(ab, cd, X(0), X(1), Y(0), Y(1)) +
                   IN_FOURS(ab, cd, X(2), X(3), Y(2), Y(3)));
}

/* Four values, weighted. */
static inline Vector weigh(Vector by, const Wide value[4], int i) {
    return (IN_FOURS(by, by, X(0), X(0), X(0), X(0)) * value[0].part[i] +
            IN_FOURS(by, by, X(1), X(1), X(1), X(1)) * value[1].part[i]) +
           (IN_FOURS(by, by, X(2), X(2), X(2), X(2)) * value[2].part[i] +
            IN_FOURS(by, by, X(3), X(3), X(3), X(3)) * value[3].part[i]);
}

/* What is attended from a position, whose own key and value are put into the cache. */
static inline Wide attend(const Front *front, int position, Cache *cache) {
    static const Wide counting[4] = {
        {.at = {1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0}},
        {.at = {1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0, 0}},
        {.at = {1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0, 1, 1, 1, 0}},
        {.at = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}},
    };
    Wide mix;
    EVERY(i, WIDE) {
        cache->key[position].part[i] = front->key.part[i];
        cache->value[position].part[i] = front->value.part[i];
    }
    EVERY(i, WIDE) {
        int last = position & ~3;
        Vector query = front->query.part[i];
        Vector total = numerators(query, cache->key + last, i) * counting[position % 4].part[i];
        Vector sum = weigh(total, cache->value + last, i);
        for (int row = 0; row < last; row += 4) {
            Vector more = numerators(query, cache->key + row, i);
            total += more;
            sum += weigh(more, cache->value + row, i);
        }
        mix.part[i] = sum / sum_in_fours(total);
    }
    return mix;
}

/* 1 / rms(x), as microGPT's norm has it. */
static inline float norm(Wide x) {
    float squares = 0;
    EVERY(i, WIDE) x.part[i] = sum_in_fours(x.part[i] * x.part[i]);
    EVERY(i, WIDTH / 4) squares += x.at[4 * i];
    return 1 / __builtin_sqrtf(squares / WIDTH + 1e-5f);
}

/* Logits after a token at a position, those before it being in the cache. */
static inline __attribute__((always_inline)) Deep step(const Model *model, int token,
                                                       int position, Cache *cache) {
    const Front *front = &model->front[token][position];
    Wide mix = attend(front, position, cache), x = front->x;
    IN_MEMORY(mix);
    High hidden, more_hidden;
    Deep logits = front->logits, sums[4];

    EVERY(j, HIGH) hidden.part[j] = front->hidden.part[j];
    EVERY(j, HIGH) more_hidden.part[j] = mix.at[0] * model->out_hidden[0].part[j];
    EVERY(i, WIDTH / 2) EVERY(j, HIGH) {
        hidden.part[j] += mix.at[2 * i + 1] * model->out_hidden[2 * i + 1].part[j];
        if (i) more_hidden.part[j] += mix.at[2 * i] * model->out_hidden[2 * i].part[j];
    }
    EVERY(j, HIGH) {
        Vector sum = hidden.part[j] + more_hidden.part[j];
        hidden.part[j] = (Vector)((Integers)sum & (sum > 0));
    }
    IN_MEMORY(hidden);

    EVERY(i, WIDTH) EVERY(j, WIDE) x.part[j] += mix.at[i] * model->out_x[i].part[j];
    EVERY(i, WIDTH) EVERY(j, DEEP) logits.part[j] += mix.at[i] * model->out_logits[i].part[j];
    float scale = norm(x);

    EVERY(k, 4) EVERY(j, DEEP) sums[k].part[j] = (Vector){0};
    EVERY(i, HIDDEN / 4) EVERY(k, 4) EVERY(j, DEEP)
        sums[k].part[j] += hidden.at[4 * i + k] * model->hidden_logits[4 * i + k].part[j];
    EVERY(j, DEEP)
        logits.part[j] += scale * ((sums[0].part[j] + sums[1].part[j]) +
                                   (sums[2].part[j] + sums[3].part[j]));
    return logits;
}

/* The lane of the largest; the lowest bits of numbers give way to their lane. */
static inline int largest(Deep numbers) {
    int32_t best = INT32_MIN, lanes[LOGITS];
    EVERY(j, DEEP) {
        Integers bits = numbers.bits[j];
        numbers.bits[j] = bits ^ ((bits >> 31) & INT32_MAX);
    }
    memcpy(lanes, &numbers, sizeof lanes);
    for (int i = 0; i < LOGITS; i++) {
        int32_t lane = (lanes[i] & -LOGITS) | i;
        best = lane > best ? lane : best;
    }
    return best & (LOGITS - 1);
}

unsigned long microgpt_bytes(void) { return sizeof(Model); }

/* Logits [count][LOGITS] after each token of a document of at most CONTEXT ones. */
void microgpt_logits(const Model *model, const int32_t *tokens, int count, float *logits) {
    Cache cache;
    memset(&cache, 0, sizeof cache);
    for (int position = 0; position < count; position++) {
        Deep found = step(model, tokens[position], position, &cache);
        memcpy(logits + position * LOGITS, &found, sizeof found);
    }
}

/* Sample at least so many tokens, in whole documents; those that end a document are sampled, too.
 * Returns how many were written, at most CONTEXT - 1 more than asked for. */
long microgpt_generate(const Model *model, float temperature, uint32_t seed, long least,
                       uint8_t *tokens) {
    Cache cache;
    Bits state[DEEP];
    float per_temperature = 1 / temperature;
    long count = 0;
    memset(&cache, 0, sizeof cache);
    for (int i = 0; i < LOGITS; i++) {
        /* A state of its own for every lane, and never 0. */
        seed = seed * 747796405u + 2891336453u;
        state[i / LANES][i % LANES] = seed | 1;
    }
    while (count < least) {
        int token = END;
        for (int position = 0; position < CONTEXT; position++) {
            Deep noise = draw_noise(state), logits = step(model, token, position, &cache);
            EVERY(j, DEEP) noise.part[j] += logits.part[j] * per_temperature;
            token = largest(noise);
            tokens[count++] = (uint8_t)token;
            if (token == END) break;
        }
    }
    return count;
}
