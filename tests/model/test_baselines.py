import math
from collections import Counter

import pytest

from gptloom.model.baselines import ORDERS, better_ngram, ngram_loss, ngram_losses
from gptloom.model.corpus import heldout_documents
from gptloom.model.tokenizer import PADDING
from gptloom.model.tokenizers.characters import Characters

TOKENIZER = Characters("abcdefghijklmnopqrstuvwxyz")
NAMES = heldout_documents()
TRAINING = TOKENIZER.rows(NAMES[:800], 16)
HELDOUT = TOKENIZER.rows(NAMES[800:1000], 16)


def counted_loss(order):
    """Return the same loss from dictionaries, one history at a time."""
    grams = Counter()
    for history, token in predictions(TRAINING, order):
        for length in range(order):
            grams[(*history[order - 1 - length :], token)] += 1
    continuations = {}
    for gram, count in grams.items():
        continuations.setdefault(gram[:-1], []).append(count)

    def probability(history, token):
        lower = probability(history[1:], token) if history else 1 / 27
        counts = continuations.get(history)
        if counts is None:
            return lower
        return (grams[(*history, token)] + len(counts) * lower) / (sum(counts) + len(counts))

    surprises = [-math.log(probability(*prediction)) for prediction in predictions(HELDOUT, order)]
    return sum(surprises) / len(surprises)


def predictions(rows, order):
    for row in rows.tolist():
        document = [26] * (order - 1) + [token for token in row[1:] if token != PADDING]
        for end in range(order - 1, len(document)):
            yield tuple(document[end - order + 1 : end]), document[end]


@pytest.mark.parametrize("order", [1, 2, 3, 4, 5])
def test_losses_are_those_of_plain_counting(order):
    assert ngram_loss(TRAINING, HELDOUT, 27, order) == pytest.approx(counted_loss(order), abs=1e-9)


def test_probabilities_add_up_to_one():
    # Every token after the first character: all continuations of one history.
    heads = TOKENIZER.rows(["a"], 2).repeat(27, axis=0)
    heads[:, 2] = range(27)
    first = TOKENIZER.rows(["a"], 1)[:, :2]
    total = sum(
        math.exp(ngram_loss(TRAINING, first, 27, 3) - 2 * ngram_loss(TRAINING, head, 27, 3))
        for head in heads[:, None]
    )
    assert total == pytest.approx(1)


def test_reported_under_their_names():
    losses = ngram_losses(TRAINING, HELDOUT, 27)
    assert list(losses) == ["bigram", "trigram", "4-gram"] == list(ORDERS)
    assert losses["trigram"] == ngram_loss(TRAINING, HELDOUT, 27, 3)


def test_the_shortest_ngram_that_is_better_is_named():
    losses = {"bigram": 2.5, "trigram": 2.3, "4-gram": 2.2}
    assert better_ngram(2.1, losses) == ""
    assert better_ngram(2.2, losses) == ""
    assert better_ngram(2.25, losses).startswith("a 4-gram")
    assert "(2.5000 nats per token) than this model (7.4000)" in better_ngram(7.4, losses)
