"""Memories answer a cycle later and write only what is enabled."""

from dataclasses import replace

import numpy as np
import pytest

from gptloom.firmware.machine import LANES, QUAD, Machine
from gptloom.hdl.folded.memories import (
    ActivationMemory,
    OperandMemory,
    ProgramMemory,
    stream_memory,
)
from gptloom.model.config import ModelConfig
from verification.llama import GROUPED


@pytest.fixture(params=LANES)
def machine(request):
    return Machine.for_models(request.param, ModelConfig())


def unsigned(values, bits):
    return sum((int(v) & ((1 << bits) - 1)) << i * bits for i, v in enumerate(values))


def exercise(block, memory, read, bits, data, names):
    """Random masked writes and reads at once, compared with an array of the same contents."""
    address, enable, write_address, output = names
    draw = np.random.default_rng(1)
    depth, elements = memory.shape
    expected = None
    for cycle in range(300):
        # At first all is written, so that nothing is read that was never defined.
        everything = cycle < depth
        place = cycle if everything else int(draw.integers(depth))
        mask = np.ones(elements, bool) if everything else draw.random(elements) < 0.4
        values = draw.integers(-(1 << (bits - 1)), 1 << (bits - 1), elements)
        at = int(draw.integers(depth))
        # A read of a word written in the same cycle is undefined.
        if at == place:
            at = (at + 1) % depth
        block.set(
            **{
                address: at,
                write_address: place,
                enable: unsigned(mask, 1),
                "write_data": data(values, bits),
            }
        )
        if expected is not None:
            assert read(block.get(output)) == expected
        expected = memory[at].tolist() if cycle > depth else None
        memory[place][mask] = values[mask]
        block.step()


NAMES = ("address", "write_enable", "write_address")


def test_operand_memory(bench, machine):
    def signed_bytes(words):
        found = b"".join(word.to_bytes(QUAD, "little") for word in words)
        return np.frombuffer(found, np.int8).tolist()

    memory = np.zeros((64, machine.lanes), np.int64)
    block = bench(OperandMemory(machine))
    exercise(block, memory, signed_bytes, 8, unsigned, (*NAMES, "words"))


@pytest.mark.parametrize("family", ["microgpt", "llama"])
@pytest.mark.parametrize("depth", [2048, 2049, 4500])
def test_a_deep_operand_memory_is_one_whatever_it_is_made_of(bench, family, depth):
    machine = Machine.for_models(8, ModelConfig())
    if family == "llama":
        machine = Machine.for_models(32, GROUPED)
    machine = replace(machine, operand_words=depth)
    lanes = machine.lanes
    draw = np.random.default_rng(depth)
    init = draw.integers(0, 256, (depth, lanes))
    memory = init.copy()
    block = bench(OperandMemory(machine, [unsigned(word, 8) for word in init]))
    # Reads whose words are still to come; the latest is the last.
    coming = []
    edges = [0, 1, 2047, 2048, 4095, 4096, depth - 1]
    places = [place for place in edges if place < depth]
    for _ in range(300):
        place, at = (int(draw.choice(places)) for _ in range(2))
        values, mask = draw.integers(0, 256, lanes), draw.random(lanes) < 0.3
        block.set(address=at, write_address=place, write_data=unsigned(values, 8))
        # A read of a word written in the same cycle is undefined.
        block.set(write_enable=unsigned(mask, 1) if at != place else 0)
        block.step()
        coming.append(unsigned(memory[at], 8))
        if len(coming) == block.component.latency:
            assert unsigned(block.get("words"), 32) == coming.pop(0)
        if at != place:
            memory[place][mask] = values[mask]
        places.append(int(draw.integers(depth)))


def test_activation_memory(bench, machine):
    def elements(quads):
        return [value for quad in quads for value in quad]

    memory = np.zeros((machine.activation_words, machine.heads * QUAD), np.int64)
    block = bench(ActivationMemory(machine))
    exercise(block, memory, elements, 10, unsigned, (*NAMES, "quads"))


def test_stream_memory(bench, machine):
    """Results for the memory are written by their index; others are not written."""
    writers, draw = machine.writers, np.random.default_rng(2)
    memory = np.zeros((machine.stream_elements // writers, writers), np.int64)
    block = bench(stream_memory(machine))
    for cycle in range(300):
        # At first all is written, so that nothing is read that was never defined.
        everything = cycle < len(memory)
        word = cycle if everything else int(draw.integers(len(memory)))
        mask = np.ones(writers, bool) if everything else draw.random(writers) < 0.4
        here = everything or draw.random() < 0.6
        values = draw.integers(-512, 512, writers)
        beat = {
            "enable": unsigned(mask, 1),
            "index": word * writers,
            "to": {"stream": here, "activations": not here},
            "values": values.tolist(),
        }
        block.set(i__beat=beat)
        block.step()
        if here:
            memory[word][mask] = values[mask]
        if not everything:
            at = int(draw.integers(len(memory)))
            block.set(i__beat={}, address=at)
            block.step()
            assert block.get("elements") == memory[at].tolist()


def test_program_memory_is_written_by_bytes_and_keeps_what_it_read(bench, machine):
    block = bench(ProgramMemory(machine, 51, 7))
    words = [int.from_bytes(bytes(range(i, i + 7)), "little") for i in range(1, 12)]
    block.set(write_enable=1)
    for address, word in enumerate(words):
        # An instruction takes a power of two of addresses; those after its bytes are ignored.
        for byte, value in enumerate(word.to_bytes(7, "little").ljust(8, b"\xff")):
            block.set(write_address=address, write_byte=byte, write_data=value)
            block.step()
    block.set(write_enable=0)
    mask = (1 << 51) - 1
    for address, word in enumerate(words):
        block.set(enable=1, address=address)
        block.step()
        assert block.get("word") == word & mask
        block.set(enable=0, address=0)
        block.step(3)
        assert block.get("word") == word & mask
