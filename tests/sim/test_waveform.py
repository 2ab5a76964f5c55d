"""The waveform of a generation shows its tokens and instructions as text."""

from dataclasses import replace
from itertools import groupby

import numpy as np
from vcd.reader import TokenKind, tokenize

from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import Machine
from gptloom.firmware.program import compile_program
from gptloom.model.config import ModelConfig
from gptloom.model.tokenizers.pieces import Pieces
from gptloom.sim.generation import Request
from gptloom.sim.waveform import signals, write_waveform


def test_tokens_and_instructions_appear_in_order(generator, model, tmp_path):
    generator.engine.record(signals(generator.machine))
    generation = generator.run(Request(1, 0.7, 1))
    recording = generator.engine.recording()
    generator.engine.stop_recording()
    schedule = compile_program(model, Layout(generator.machine, model.config))
    file = tmp_path / "names.vcd"
    hint = write_waveform(file, recording, model, schedule, generator.machine)
    assert str(file) in hint
    assert (tmp_path / "names.gtkw").read_text().count("top.") >= 20

    variables, texts = {}, {}
    with file.open("rb") as stream:
        for token in tokenize(stream):
            if token.kind is TokenKind.VAR:
                variables[token.var.id_code] = token.var.reference
            elif token.kind is TokenKind.CHANGE_STRING:
                name = variables[token.string_change.id_code]
                texts.setdefault(name, []).append(token.string_change.value)
    # The engine idles between the passes of an instruction whose results drain slowly.
    busy = [text for text in texts["instruction_text"] if text != "idle"]
    instructions = [text for text, _ in groupby(busy)]
    program = ["{}.{}".format(*scheduled.step.site.key) for scheduled in schedule]
    assert instructions[: len(program)] == program
    # The core runs one token ahead: its own token shows the name, letter by letter.
    name = model.tokenizer.decode(generation.names[0])
    letters = "".join(text for text in texts["token_text"] if len(text) == 1)
    assert name[-1] in letters


def test_tokens_are_labelled_by_their_pieces(random_model, tmp_path):
    config = ModelConfig(1, 8, 1, 8, 8, 5)
    pieces = Pieces([b"<unk>", b"<s>", b"</s>", b" then\n", b"\xe2"], [0.0] * 5)
    machine, model = Machine.for_models(8, config), replace(random_model(config), tokenizer=pieces)
    recording = {name: np.zeros(3, np.uint64) for name in signals(machine)}
    recording["control.token"] = np.array([1, 3, 4], np.uint64)
    file = tmp_path / "pieces.vcd"
    schedule = compile_program(model, Layout(machine, config))
    write_waveform(file, recording, model, schedule, machine)
    with file.open("rb") as stream:
        texts = [
            t.string_change.value for t in tokenize(stream) if t.kind is TokenKind.CHANGE_STRING
        ]
    assert {"<end>", r"\x20then\\n", r"\\xe2"} <= {*texts}


def test_the_numbers_of_large_machines_fit(random_model, tmp_path):
    """Operands beyond word 4,096, positions and tokens beyond 255, and 64 instructions and more."""
    config = ModelConfig(8, 64, 1, 64, 512, 300)
    machine, model = Machine.for_models(8, config), random_model(config)
    schedule = compile_program(model, Layout(machine, config))
    assert len(schedule) > 64
    largest = {
        "sequencer.operand": machine.operand_words - 1,
        "sequencer.row": machine.activation_words - 1,
        "sequencer.issue": (1 << 40) - 1,
        "control.token": 299,
        "control.position": 511,
        "sampler.token": 299,
    }
    recording = {name: np.array([0, largest.get(name, 1)], np.uint64) for name in signals(machine)}
    file = tmp_path / "large.vcd"
    write_waveform(file, recording, model, schedule, machine)
    text = file.read_text()
    assert f"b{machine.operand_words - 1:b} " in text
    assert f"b{299:b} " in text
