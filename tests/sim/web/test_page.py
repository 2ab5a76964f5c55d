"""The page's parts put together, without a browser."""

import base64
import gzip
import json
import re

import pytest
from amaranth.hdl import Fragment

from gptloom.cli.web import open_server
from gptloom.firmware.image import build_image
from gptloom.firmware.machine import Machine
from gptloom.model.errors import UserError
from gptloom.sim.engines import compilers
from gptloom.sim.web import wasm
from gptloom.sim.web.chip import WebChip
from gptloom.sim.web.page import assemble, describe

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
