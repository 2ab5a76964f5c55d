"""A core in other designs: the documents' example, and Verilog whose ports are described."""

import re
from pathlib import Path

import pytest

from gptloom.cli.main import main
from gptloom.firmware.machine import Machine
from gptloom.hdl.export import FIELDS, PORTS, Core, describe
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.config import ModelConfig
from gptloom.model.golden import GoldenModel
from gptloom.model.quantise import quantise
from gptloom.sim.engines import open_engine
from gptloom.sim.engines.base import component_ports

PAGE = Path(__file__).parents[2] / "docs" / "core.md"
SMALL = ModelConfig(layers=1, width=8, heads=2, hidden=8, context=4, vocabulary=5)


def test_the_documents_example_generates_the_golden_models_tokens():
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)[1]
    example = {}
    exec(code, example)
    model = quantise(load_checkpoint("names"))
    expected = [
        t.token for t, _ in zip(GoldenModel(model).generate(1, 0.8), range(6), strict=False)
    ]
    with open_engine(example["Babbler"](), "pysim") as engine:
        seen = [engine.peek("leds")]
        while len(seen) <= len(expected) and engine.cycles < 3_000:
            engine.step()
            if engine.peek("core.o__valid"):
                engine.step()
                seen.append(engine.peek("leds"))
    assert seen[1:] == expected


def test_every_port_is_described():
    core = Core(FoldedCore(Machine.for_models(16, SMALL)))
    ports = component_ports(core)
    assert set(PORTS) == {"clk", "rst", *ports}
    for name, port in ports.items():
        bits = [int(n) for n in re.findall(r"\d+", "".join(re.findall(r"\[.*?\]", describe(name))))]
        assert name not in FIELDS or (max(bits), min(bits)) == (port.width - 1, 0), name
    assert describe("o__payload") == "[22] last, [21:12] position, [11:0] token"


def test_the_command_writes_a_module(tmp_path, capsys):
    file = tmp_path / "core.v"
    assert main(["verilog", "--out", str(file), "--name", "names_core"]) == 0
    text = file.read_text()
    ports = re.search(r"^module names_core\((.*?)\)", text, re.M | re.S)[1]
    assert {port.strip() for port in ports.split(",")} == set(PORTS)
    assert "names (weights 11F98894)" in text
    assert "Temperature 0.7: 15'h110a" in text
    assert "module names_core" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--name", "a core"], "is no name for a Verilog module"),
        (["--name", "module"], "and no keyword"),
        (["--lanes", "7"], "lanes"),
        (["--checkpoint", "nothing"], "nothing"),
    ],
)
def test_bad_input_is_one_sentence_and_leaves_nothing(tmp_path, capsys, options, message):
    assert main(["verilog", "--out", str(tmp_path / "core.v"), *options]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
