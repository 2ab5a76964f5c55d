"""The page's parts put together, without a browser."""

import base64
import gzip
import json
import re
from dataclasses import replace

import pytest
from amaranth.hdl import Fragment

from gptloom.cli.web import open_server
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import FINE
from gptloom.model.llama_quantise import quantise_llama
from gptloom.model.tokenizers.pieces import Pieces
from gptloom.sim.engines import compilers
from gptloom.sim.web import wasm
from gptloom.sim.web.chip import WebChip
from gptloom.sim.web.page import assemble, assemble_text, describe, describe_text
from verification.llama import make_checkpoint

CHIP = bytes(range(256)) * 100


@pytest.fixture(scope="module")
def chip(model):
    machine = Machine.for_models(16, model.config)
    chip = WebChip(build_image(model, machine), machine, 80e6)
    # Amaranth warns of unused hardware.
    Fragment.get(chip, None)
    return chip


@pytest.fixture(scope="module")
def page(model, chip):
    return assemble(describe(model, "names", chip), CHIP)


def content(page, name):
    return re.search(rf'<script type="[^"]*" id="{name}">(.*?)</script>', page, re.S)[1]


def test_everything_is_in_the_page(page, model):
    assert "{{" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)
    assert gzip.decompress(base64.b64decode(content(page, "chip"))) == CHIP
    config = json.loads(content(page, "config"))
    assert config["characters"] == model.tokenizer.characters
    assert config["temperatures"][0][0] == 0
    assert len(config["temperatures"]) == 21
    assert "class CharacterPanel" in content(page, "worker")


def test_nothing_is_loaded_from_elsewhere(page):
    addresses = set(re.findall(r"https?://[^\s'\"<>)]+", page))
    # A namespace, which is not fetched.
    assert addresses == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"<(script|img|iframe)[^>]*\ssrc=|<link[^>]*stylesheet|@import", page)
    assert "default-src 'none'" in page


def test_the_page_is_small(page):
    assert len(page.encode()) < 80_000


def test_scripts_name_only_what_is_in_the_page(page):
    there = set(re.findall(r'\bid="([\w-]+)"', page))
    named = set(re.findall(r'\$\("([\w-]+)"\)', page))
    assert named - there == set()


def test_a_tag_in_a_checkpoints_name_ends_nothing(model, chip):
    page = assemble(describe(model, "</script><b>", chip), CHIP)
    assert json.loads(content(page, "config"))["checkpoint"] == "</script><b>"


def test_without_zig_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(compilers.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"gptloom\[zig\]"):
        wasm.require_zig()


def test_a_port_that_is_taken_is_refused():
    with open_server(b"", 0) as first, pytest.raises(UserError, match="--port"):
        open_server(b"", first.server_address[1])


PIECES = Pieces([b"<unk>", b"<s>", b"</s>", b" ", b"a", b" a", b"\xc3", b"\xa9"], [0.0] * 8)
CONFIG = ModelConfig(
    1, 16, 4, 20, 16, 8, family="llama", positions="rotary", kv_heads=2, tied=True
)  # fmt: skip


@pytest.fixture(scope="module")
def writer():
    """Make the page of a text."""
    model = quantise_llama(replace(make_checkpoint(CONFIG), tokenizer=PIECES), FINE)
    described = describe_text(model, "</script>", Machine.for_model(32, model), 80e6)
    return assemble_text(described, CHIP)


def test_the_page_of_a_text_has_everything(writer):
    assert "{{" not in re.sub(r"<script.*?</script>", "", writer, flags=re.S)
    assert gzip.decompress(base64.b64decode(content(writer, "chip"))) == CHIP
    config = json.loads(content(writer, "config"))
    assert config["text"]["first"][5] == "a"
    assert config["text"]["later"] == ["<unk>", "", "</s>", " ", "a", " a", "Ã", "©"]
    assert config["tokenizer"]["ids"][" a"] == 5
    assert config["tokenizer"]["firstByte"] is None
    assert config["bits"] == {"seeded": 0, "taken": 1, "sampled": 2, "last": 3, "token": 4}
    assert "class Writer" in content(writer, "worker")
    assert set(re.findall(r"https?://[^\s'\"<>)]+", writer)) == {"http://www.w3.org/2000/svg"}


def test_scripts_of_a_text_name_only_what_is_in_its_page(writer):
    scripts = re.sub(r'<script type="(application|text)/.*?</script>', "", writer, flags=re.S)
    named = set(re.findall(r'\$\("([\w-]+)"\)', scripts))
    assert named <= set(re.findall(r'id="([\w-]+)"', writer))
