"""Turns of streams, with a pipeline in Python, against documents written down one by one."""

import itertools
import random

import pytest

from gptloom.hdl.unrolled.streams import Streams

BOS, CONTEXT = 6, 5
DOCUMENTS = 12


def next_token(stream, document, known, position):
    """What is sampled behind a token: anything, but the same for the same place."""
    return random.Random(f"{stream} {document} {known} {position}").randrange(BOS + 1)


def expected_tokens(stream, prompts):
    """All tokens that a stream emits, document by document."""
    emitted = []
    for document, prompt in enumerate(prompts):
        position = min(len(prompt), CONTEXT) - 1
        token = prompt[position]
        while True:
            token = next_token(stream, document, token, position)
            last = token == BOS or position == CONTEXT - 1
            emitted.append((token, position, int(last)))
            if last:
                break
            position += 1
    return emitted


@pytest.mark.parametrize(
    ("streams", "interval"), [(1, 2), (1, 4), *itertools.product((2, 5), (1, 2, 4))]
)
@pytest.mark.parametrize(("offered", "taken"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.1), (0.7, 0.3)])
def test_streams(bench, streams, interval, offered, taken):
    draw = random.Random(f"{streams} {interval} {offered} {taken}")
    prompts = [
        [[draw.randrange(BOS) for _ in range(draw.randrange(1, CONTEXT + 3))]
         for _ in range(DOCUMENTS)]
        for _ in range(streams)
    ]  # fmt: skip
    block = bench(Streams(streams, interval, BOS + 1, CONTEXT))
    left = [[(d, i, token) for d, prompt in enumerate(p) for i, token in enumerate(prompt)]
            for p in prompts]  # fmt: skip
    pipeline, found, at, valid, ready = {}, [[] for _ in range(streams)], [-1] * streams, 0, 0
    tokens = stalls = cycle = 0
    while any(len(f) < len(expected_tokens(s, prompts[s])) for s, f in enumerate(found)):
        turn, begins = block.get("turn"), block.get("begins")
        assert (turn, begins) == (cycle // interval % streams, cycle % interval == 0)
        offer = begins and bool(left[turn]) and draw.random() < offered
        known = left[turn][0] if offer else (0, 0, 0)
        ready = draw.random() < taken
        block.set(
            i__valid=offer,
            i__payload={"token": known[2], "last": known[1] == len(prompts[turn][known[0]]) - 1},
            sampled=pipeline.pop(turn, BOS) if begins else draw.randrange(BOS),
            o__ready=ready,
        )
        valid = block.get("o__valid")
        if valid and ready:
            token = block.get("o__payload")
            found[block.get("o_stream")].append((token.token, token.position, token.last))
        if begins and block.get("i__ready") and offer:
            left[turn].pop(0)
            if known[1] == 0:
                at[turn] = known[0]
        if block.get("enter"):
            token, position = block.get("token"), block.get("position")
            if block.get("samples"):
                pipeline[turn] = next_token(turn, at[turn], token, position)
        block.step()
        cycle += 1
        assert cycle < 40_000
    assert found == [expected_tokens(s, p) for s, p in enumerate(prompts)]
    tokens = sum(map(len, found))
    assert block.get("counters").tokens == tokens
    assert block.get("counters").cycles == cycle
    stalls = block.get("counters").stalls
    assert stalls == 0 or taken < 1
    assert not block.get("busy")
    # Each stream's own counter is seen in its turn; the first cycle of one writes it.
    block.set(i__valid=0, o__ready=0)
    own = {}
    for _ in range((streams + 1) * interval):
        if block.get("begins"):
            own[block.get("turn")] = block.get("tokens")
        block.step()
    assert [own[stream] for stream in range(streams)] == [len(f) for f in found]
