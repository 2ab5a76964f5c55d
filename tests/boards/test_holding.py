"""What a part holds of a model that writes text, and what is proposed if that is too little."""

from dataclasses import replace

import pytest

from gptloom.boards.holding import LEAST_ROWS, Operands, choices, nearest
from gptloom.boards.memories import find_memories, place_all
from gptloom.boards.table import find_board
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.hdl.folded.memories import OperandMemory
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.formats import COARSE, FINE, PROFILES
from verification.llama import GROUPED

RAMS = find_board("ulx3s-85f").family.rams


@pytest.fixture(scope="module")
def config():
    return load_checkpoint("shakespeare").config


@pytest.mark.parametrize("precision", [FINE, COARSE])
@pytest.mark.parametrize("lanes", [32, 64, 128])
def test_operands_are_those_of_the_elaborated_memory(config, lanes, precision):
    for other in (config, config.with_cache(64, "window"), GROUPED):
        machine = Machine.for_models(lanes, other, precision=precision)
        operands = Operands.of(machine, other, RAMS)
        found = find_memories(OperandMemory(machine))
        assert operands.blocks == place_all(found, RAMS).blocks
        alone = replace(machine, operand_words=Layout(machine, other).weight_words)
        assert operands.weights == place_all(find_memories(OperandMemory(alone)), RAMS).blocks


def test_choices_have_fewer_and_fewer_rows_in_both_profiles(config):
    found = [choice for choice, _ in choices(config, FINE)]
    assert [choice.rows for choice in found] == [256, 256, 128, 128, 64, 64, 32, 32]
    assert {choice.rows >= LEAST_ROWS for choice in found} == {True}
    assert [str(choice) for choice in found[:4]] == [
        "",
        "--profile J2",
        "--rows 128 --cache window",
        "--rows 128 --cache window --profile J2",
    ]
    assert str(next(choices(config, COARSE))[0]) == ""


@pytest.mark.parametrize("lanes", [32, 64, 128])
def test_the_nearest_choice_fits_and_none_before_it_does(config, lanes):
    for free in range(100, 200, 9):
        chosen = nearest(config, FINE, lanes, RAMS, free)
        for choice, other in choices(config, FINE):
            machine = Machine.for_models(lanes, other, precision=PROFILES[choice.profile])
            fits = Operands.of(machine, other, RAMS).blocks <= free
            assert fits is (choice == chosen)
            if fits:
                break
        else:
            assert chosen is None
