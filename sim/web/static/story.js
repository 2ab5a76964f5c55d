"use strict";

/** Follows what happens on the chip: documents, attention, the cache, the display. */
class Story {
  static FIRST = 20;

  constructor(config) {
    this.config = config;
    /** Masks of what is seen. */
    this.bits = {};
    for (const [name, [shift, width]] of Object.entries(config.layout.seen))
      this.bits[name] = ((1 << width) - 1) << shift;
    this.bits.pins = this.bits.rs | this.bits.e | this.bits.d;
    this.restart();
  }

  /** The chip was switched on. */
  restart() {
    const { layers, context, width } = this.config;
    const elements = () => new Int8Array(layers * context * width);
    const times = () => new Float64Array(layers * context).fill(-Infinity);
    this.panel = new CharacterPanel();
    this.pins = 0;
    this.cache = { keys: elements(), values: elements(), written: times(), attended: times() };
    this.rowTokens = new Uint8Array(context).fill(this.config.bos);
    this.position = 0;
    this.rows = 0; // of the cache that the document has written
    this.layer = 0;
    this.document = null;
    this.finished = null;
    this.isSeeded = false;
    this.begin();
  }

  /** The seed was taken. */
  begin() {
    this.first = [];
    this.newest = "";
    this.names = 0;
    this.tokens = 0;
    this.begunAt = null; // the first document's first cycle
    this.lastTokenAt = null;
    this.tokenCycles = 0;
  }

  receive(cycle, words, at) {
    const { bits } = this;
    const seen = words[at];
    const number = ([shift, width]) => (seen >>> shift) & ((1 << width) - 1);
    // Most often.
    if (seen & (bits.key | bits.value))
      this.write(cycle, seen & bits.key, words[at + 4], words[at + 5]);
    if (seen & (bits.score | bits.numerator)) {
      const row = number(this.config.layout.seen.row);
      // Whole words are computed: rows to come are not used.
      if (row <= this.position) {
        this.cache.attended[this.layer * this.config.context + row] = cycle;
        if (seen & bits.numerator) this.weigh(row, words[at + 2], words[at + 3]);
      }
    }
    const pins = seen & bits.pins;
    if (pins !== this.pins) {
      this.pins = pins;
      this.panel.feed(
        Number(Boolean(pins & bits.rs)), Number(Boolean(pins & bits.e)),
        number(this.config.layout.seen.d));
    }
    if (!(seen & (bits.sampled | bits.seeded | bits.known))) return;
    const token = number(this.config.layout.seen.token);
    // A document may end, the seed be taken and another one begin, in this order.
    if (seen & bits.sampled) this.sample(cycle, token, seen & bits.last);
    if (seen & bits.seeded) {
      this.begin();
      this.isSeeded = true;
    }
    if (seen & bits.known) this.know(cycle, seen & bits.sampled ? this.config.bos : token);
  }

  know(cycle, token) {
    this.begunAt ??= this.lastTokenAt = cycle;
    if (token === this.config.bos) {
      this.document = { tokens: [], known: 0, attention: [], ended: false };
      this.position = -1;
      this.rows = 0;
    } else {
      this.document.known++;
    }
    this.compute(token);
  }

  /** A token is computed: it takes the next row. */
  compute(token) {
    const { layers, heads, context } = this.config;
    this.position++;
    this.rowTokens[this.position] = token;
    this.document.tokens.push(token);
    this.document.attention.push(
      Array.from({ length: layers }, () =>
        Array.from({ length: heads }, () => new Uint16Array(context))));
  }

  sample(cycle, token, last) {
    const { document } = this;
    this.tokens++;
    this.tokenCycles = cycle - this.lastTokenAt;
    this.lastTokenAt = cycle;
    if (!last) {
      this.compute(token);
      return;
    }
    if (token !== this.config.bos) document.tokens.push(token);
    document.ended = true;
    this.finished = document;
    const name = this.text(document);
    this.newest = name;
    this.names++;
    if (this.first.length < Story.FIRST) this.first.push(name);
  }

  write(cycle, isKey, low, high) {
    const { operations, order, context, width } = this.config;
    const { index, operation, enable, elements } = this.config.layout.written;
    const { layer } = operations[field(low, high, ...operation)];
    if (!isKey) this.layer = layer;
    const row = layer * context + this.position;
    const into = isKey ? this.cache.keys : this.cache.values;
    const places = isKey ? order.k : order.v;
    const first = field(low, high, ...index);
    const enabled = field(low, high, ...enable);
    for (let i = 0; i < elements[1] / 8; i++)
      if ((enabled >> i) & 1)
        into[row * width + places[first + i]] = field(low, high, elements[0] + 8 * i, 8);
    this.cache.written[row] = cycle;
    this.rows = this.position + 1;
  }

  weigh(row, low, high) {
    const bits = this.config.scoreBits;
    this.document.attention[this.position][this.layer].forEach((weights, head) => {
      weights[row] = field(low, high, head * bits, bits);
    });
  }

  /** A document's characters, without the token that begins it. */
  text(document) {
    return document.tokens.slice(1).map((token) => this.config.characters[token]).join("");
  }
}
