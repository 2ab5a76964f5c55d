"""Turns of streams, with a pipeline in Python, against documents computed one by one."""

import itertools
import random

import pytest

from gptloom.hdl.unrolled.streams import Streams
from gptloom.model.golden import MAX_POSITION

pytestmark = pytest.mark.long

BOS, CONTEXT = 6, 5
DOCUMENTS = 12


def next_token(stream, document, known, position):
    """Return the token sampled after another: arbitrary, but fixed for each place."""
    return random.Random(f"{stream} {document} {known} {position}").randrange(BOS + 1)


def expected_tokens(stream, prompts):
    """Return all tokens that a stream emits, document by document."""
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


def entered_tokens(sessions, sampled):
    """Return the (token, position, fresh, samples) that enter an endless stream, and those emitted.

    Each of `sessions` is a prompt, its tokens with flags for the last, and the number of tokens
    sampled until the next prompt was taken.
    """
    entered, emitted, left = [], [], iter(sampled)
    for prompt, count in sessions:
        position = -1
        for place, (token, last) in enumerate(prompt):
            position = min(place, MAX_POSITION)
            entered.append((token, position, int(place == 0), int(last)))
        for number in range(count):
            token = next(left)
            emitted.append((token, position, int(token == BOS)))
            # The token that ends a document begins the next one.
            position = 0 if token == BOS else min(position + 1, MAX_POSITION)
            # After a session's last token another prompt follows, or nothing yet.
            if number < count - 1:
                entered.append((token, position, 0, 1))
    return entered, emitted


@pytest.mark.parametrize(
    ("streams", "interval", "offered", "taken"),
    [(1, 2, 0.1, 1.0), (3, 1, 1.0, 1.0), (2, 4, 0.3, 0.3)],
)
def test_streams_without_end(bench, streams, interval, offered, taken):
    draw = random.Random(f"{streams} {interval} {offered} {taken}")
    block = bench(Streams(streams, interval, BOS + 1, CONTEXT, endless=True))
    known, sessions = [[] for _ in range(streams)], [[] for _ in range(streams)]
    entered, emitted, sampled = ([[] for _ in range(streams)] for _ in range(3))
    pipeline, may_end = {}, [True] * streams
    for cycle in range(2500):
        turn, begins = cycle // interval % streams, cycle % interval == 0
        if not known[turn]:
            known[turn] = [draw.randrange(BOS) for _ in range(draw.randrange(1, 3 * CONTEXT))]
            known[turn][0] = BOS
        offer, hold = draw.random() < offered, draw.random() < 0.05
        block.set(
            i__valid=offer,
            i__payload={"token": known[turn][0], "last": len(known[turn]) == 1},
            hold=hold,
            sampled=pipeline.get(turn, 0) if begins else draw.randrange(BOS),
            o__ready=(ready := draw.random() < taken),
        )
        if block.get("o__valid") and ready:
            out = block.get("o__payload")
            emitted[block.get("o_stream")].append((out.token, out.position, out.last))
        if begins:
            # A stream ends only if a prompt or seed waits for that.
            assert not block.get("idle") or may_end[turn]
            may_end[turn] = block.get("idle") or offer or hold
            if block.get("i__ready") and offer:
                if block.get("fresh"):
                    sessions[turn].append([[], 0])
                token = known[turn].pop(0)
                sessions[turn][-1][0].append((token, not known[turn]))
        if block.get("enter"):
            assert begins
            entered[turn].append(tuple(map(block.get, ("token", "position", "fresh", "samples"))))
            if entered[turn][-1][3]:
                # Some documents are long.
                ends = draw.random() < 0.15 and not 600 < cycle < 1600
                pipeline[turn] = BOS if ends else draw.randrange(BOS)
                sampled[turn].append(pipeline[turn])
                sessions[turn][-1][1] += 1
        block.step()
    for stream in range(streams):
        assert len(sessions[stream]) > 3
        expected = entered_tokens(sessions[stream], sampled[stream])
        # The last ones are still in the pipeline.
        for found, right in zip((entered[stream], emitted[stream]), expected, strict=True):
            assert found == right[: len(found)]
            assert len(right) - len(found) <= 2
    if taken == 1:
        assert max(position for _, position, _, _ in entered[0]) == MAX_POSITION
