"""The waveform of a generation shows its tokens and instructions as text."""

from itertools import groupby

from vcd.reader import TokenKind, tokenize

from gptloom.firmware.layout import Layout
from gptloom.firmware.program import compile_program
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
