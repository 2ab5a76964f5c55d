"""Documents of every length, under any behaviour of the core's surroundings."""

import random

import pytest

from gptloom.firmware.latencies import Latencies
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.control import Control
from gptloom.model.config import ModelConfig

BOS = 10
CONTEXT = 8


class Transformer:
    """A control, and a stand-in for the blocks it controls.

    It samples the tokens of `sampled`, by document, and takes random time; results of a token
    without a sample take a while longer.
    """

    def __init__(self, bench, sampled, seed=0):
        machine = Machine.for_models(16, ModelConfig(vocabulary=BOS + 1, context=CONTEXT))
        latencies = Latencies.of(machine)
        self.block = bench(Control(machine))
        self.block.set(bos=BOS, last_position=CONTEXT - 1)
        self.sampled = [iter(tokens) for tokens in sampled]
        self.draw = random.Random(seed)
        self.settled = latencies.drain + latencies.result + machine.beats
        self.starts, self.tokens, self.ends = [], [], []
        self.cycle = 0
        self.stalls = 0
        self._done_at = None
        self._finished_at = None
        self._quiet_until = 0

    def step(self, o_ready=1, **inputs):
        """Step one cycle; return whether the item on the input was taken."""
        get = self.block.get
        done, finished = self.cycle == self._done_at, self.cycle == self._finished_at
        self.block.set(done=done, finished=finished, o__ready=o_ready, **inputs)
        if done:
            self.block.set(sampled=next(self.sampled[-1]))
        if get("start"):
            assert self.cycle >= self._quiet_until, "results of the token before are under way"
            assert get("busy")
            self.starts.append((get("token"), get("position"), bool(get("sample"))))
            # The fastest possible program takes a few cycles.
            end = self.cycle + self.draw.randint(4, 12)
            self._finished_at = end
            self._quiet_until = end + self.settled
            self._done_at = None
            if get("sample"):
                self._done_at = self._quiet_until = end + self.draw.randint(10, 15)
        if get("o__valid") and o_ready:
            token = get("o__payload")
            self.tokens.append((token.token, token.position, bool(token.last)))
            self.ends.append(self.cycle)
        taken = get("i__ready") and bool(inputs.get("i__valid"))
        self.block.step()
        self.cycle += 1
        return taken

    def document(self, prompt, ready=lambda: 1, pause=lambda: 0):
        """Send a document's known tokens, and run until its last token was taken."""
        before = sum(last for *_, last in self.tokens)
        waiting = [*prompt]
        valid = 0
        for _ in range(3000):
            if waiting and not valid:
                valid = 0 if pause() else 1
            payload = {"token": waiting[0], "last": len(waiting) == 1} if waiting else {}
            if self.step(ready(), i__valid=valid, i__payload=payload):
                waiting.pop(0)
                valid = 0
            ended = sum(last for *_, last in self.tokens) > before
            if ended and not waiting and not self.block.get("busy"):
                return
        raise AssertionError("the document does not end")


def expected(prompt, sampled):
    """Return the tokens started and output for one document, by the interface's definition."""
    known = prompt[:CONTEXT]
    starts, tokens = [], []
    stream = iter(sampled)
    token = known[0]
    for position in range(CONTEXT):
        sample = position == len(known) - 1 or position >= len(known)
        starts.append((token, position, sample))
        if not sample:
            token = known[position + 1]
            continue
        token = next(stream)
        last = token == BOS or position == CONTEXT - 1
        tokens.append((token, position, last))
        if last:
            break
    return starts, tokens


ENDLESS = [1, 2, 3, 4, 5, 6, 7, 8]
SHORT = [4, 5, BOS]


def check(bench, documents, seed=0, **behaviour):
    """Run documents, each a prompt and sampled tokens, one after the other."""
    transformer = Transformer(bench, [documents[0][1]], seed)
    starts, tokens = [], []
    for number, (prompt, sampled) in enumerate(documents):
        transformer.sampled.append(iter(sampled))
        transformer.document(prompt, **behaviour)
        for all_of, more in zip((starts, tokens), expected(prompt, sampled), strict=True):
            all_of += more
        assert transformer.starts == starts, number
        assert transformer.tokens == tokens, number
    counters = transformer.block.get("counters")
    assert counters.tokens == len(tokens)
    assert counters.cycles == transformer.cycle
    return transformer


# Up to the context and longer: tokens beyond it are dropped, and sampling begins at its end.
@pytest.mark.parametrize("length", range(1, CONTEXT + 4))
@pytest.mark.parametrize("sampled", [SHORT, ENDLESS, [BOS]], ids=["short", "endless", "empty"])
def test_prompts_of_every_length(bench, length, sampled):
    prompt = [BOS, *range(length - 1)]
    # Twice, and then another: a document leaves no state behind.
    check(bench, [(prompt, sampled), (prompt, sampled), ([BOS], SHORT), (prompt, ENDLESS)])


@pytest.mark.parametrize("seed", range(4))
def test_at_random_paces_of_both_sides(bench, seed):
    draw = random.Random(seed)
    documents = [
        ([BOS, *(draw.randrange(BOS) for _ in range(draw.randrange(CONTEXT + 3)))],
         draw.choice([SHORT, ENDLESS, [BOS]]))
        for _ in range(12)
    ]  # fmt: skip
    check(
        bench,
        documents,
        seed,
        ready=lambda: draw.random() < 0.1,
        pause=lambda: draw.random() < 0.8,
    )


def test_back_pressure_stops_the_second_token_and_is_counted(bench):
    transformer = Transformer(bench, [ENDLESS])
    transformer.step(i__valid=1, i__payload={"token": BOS, "last": 1})
    for _ in range(200):
        transformer.step(o_ready=0, i__valid=0)
    # One token is on the output, the next one is computed and waits behind it.
    assert len(transformer.starts) == 2
    assert not transformer.tokens
    held = transformer.block.get("counters").stalls
    assert 200 > held > 100
    assert transformer.block.get("o__payload").token == 1
    transformer.step()
    transformer.step()
    assert [token for token, *_ in transformer.tokens] == [1, 2]
    for _ in range(300):
        transformer.step()
    assert transformer.tokens == expected([BOS], ENDLESS)[1]
    # With the output free, waiting ends in that very cycle.
    assert transformer.block.get("counters").stalls == held


def test_hold_keeps_a_document_from_beginning_but_lets_one_end(bench):
    transformer = Transformer(bench, [SHORT, SHORT])
    transformer.block.set(hold=1)
    document = {"i__valid": 1, "i__payload": {"token": BOS, "last": 1}}
    for _ in range(20):
        assert not transformer.step(**document)
        assert not transformer.block.get("busy")
    transformer.block.set(hold=0)
    assert transformer.step(**document)
    transformer.block.set(hold=1)
    for _ in range(200):
        transformer.step(i__valid=0)
    assert transformer.tokens == expected([BOS], SHORT)[1]
    assert not transformer.block.get("busy")


def test_one_document_follows_the_other_while_the_last_token_is_not_taken(bench):
    transformer = Transformer(bench, [SHORT])
    document = {"i__valid": 1, "i__payload": {"token": BOS, "last": 1}}
    transformer.step(**document)
    while not transformer.block.get("o__payload").last:
        transformer.step(i__valid=0)
    transformer.sampled.append(iter(ENDLESS))
    assert transformer.step(o_ready=0, **document)
    for _ in range(100):
        transformer.step(o_ready=0, i__valid=0)
    assert transformer.block.get("o__payload").last
    for _ in range(400):
        transformer.step()
    assert transformer.tokens == expected([BOS], SHORT)[1] + expected([BOS], ENDLESS)[1]
