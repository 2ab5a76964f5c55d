"""The speedometer against a count of its events."""

import random

import pytest

from gptloom.hdl.speed import DIGITS, Speed


@pytest.mark.parametrize("chance", [1.0, 0.9, 0.01, 0.0])
def test_every_second_is_counted_whole(bench, chance):
    block, draw = bench(Speed()), random.Random(chance)
    expected, count, due = 0, 0, []
    for cycle in range(4_000):
        second, event = draw.random() < 0.002 and not due, draw.random() < chance
        if second:
            due.append((cycle + Speed.latency, count))
            count = 0
        count += event
        block.set(event=event, second=second)
        block.step()
        if due and due[0][0] == cycle + 1:
            expected = due.pop(0)[1]
            digits = block.get("digits")
            assert sum(d * 10**i for i, d in enumerate(digits)) == expected, cycle


def test_carries_run_through_all_digits(bench):
    block = bench(Speed())
    block.set(event=1)
    block.step(10_000 + DIGITS)
    block.set(event=0, second=1)
    block.step()
    block.set(second=0)
    done = [seen["done"] for seen in block.play([{}] * (DIGITS + 5), ["done"])]
    # From then on all digits are valid.
    assert done == [cycle == DIGITS - 1 for cycle in range(DIGITS + 5)]
    assert block.get("digits") == [7, 0, 0, 0, 1, 0, 0]
