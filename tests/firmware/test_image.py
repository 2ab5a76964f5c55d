"""Image files: intact, or refused with one sentence."""

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from gptloom.firmware.image import (
    CHECKED,
    HEADER,
    INSTRUCTION,
    MAGIC,
    SETTINGS,
    VERSION,
    Image,
    Region,
    build_image,
)
from gptloom.firmware.isa import Instruction, InstructionLayout
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import LANES, QUAD, Machine
from gptloom.firmware.program import compile_program
from gptloom.firmware.regions import COMMON
from gptloom.firmware.resources import memory_bits
from gptloom.model.config import ModelConfig
from gptloom.model.errors import UserError
from gptloom.model.formats import CacheFormat, Precision, RowFormat
from gptloom.model.recurrent import RecurrentModel
from gptloom.model.tokenizers.library import Library

SMALL = ModelConfig(width=4, heads=1, hidden=4, context=4, vocabulary=3)
ODD = ModelConfig(layers=2, width=24, heads=4, hidden=36, context=12, vocabulary=11)


@pytest.fixture(scope="module")
def small(random_model):
    return build_image(random_model(SMALL), Machine.for_models(8, SMALL))


def refused(data):
    with pytest.raises(UserError) as error:
        Image.decode(data)
    message = str(error.value)
    # One sentence that names the fault and, after the colon, the remedy.
    assert re.fullmatch(r"[^\n]+: [^\n]+[^.]", message)
    return message


def test_what_was_encoded_is_decoded(small, random_model):
    for image in (small, build_image(random_model(ODD), Machine.for_models(64, ODD))):
        again = Image.decode(image.encode())
        assert again == image
        assert again.encode() == image.encode()
        assert again.crc == image.crc


def test_truncated_anywhere(small):
    data = small.encode()
    for size in range(len(data)):
        refused(data[:size])


def test_followed_by_something(small):
    assert "truncated or padded" in refused(small.encode() + b"\0")


def test_every_byte_counts(small):
    data = small.encode()
    draw = random.Random(1)
    for position in range(len(data)):
        changed = bytearray(data)
        changed[position] ^= 1 << draw.randrange(8)
        refused(bytes(changed))


def test_something_else(tmp_path):
    for data in (b"", b"LOO", bytes(200), b"\x89PNG" + bytes(200)):
        assert "not a GPTLoom image" in refused(data)


def test_of_another_version(small):
    data = bytearray(small.encode())
    data[len(MAGIC)] = VERSION + 1
    assert f"format version {VERSION + 1}" in refused(bytes(data))


def test_files(small, tmp_path):
    path = tmp_path / "a.loom"
    small.write(path)
    assert Image.read(path) == small
    assert path.read_bytes() == small.encode()
    path.write_bytes(small.encode()[:-1])
    with pytest.raises(UserError, match="truncated"):
        Image.read(path)


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*none\.loom"):
        Image.read(tmp_path / "none.loom")
    with pytest.raises(UserError, match="cannot read"):
        Image.read(tmp_path)


def test_a_file_that_cannot_be_written_leaves_nothing(small, tmp_path):
    with pytest.raises(UserError, match="cannot be written"):
        small.write(tmp_path / "none" / "a.loom")
    (tmp_path / "folder").mkdir()
    with pytest.raises(UserError, match="cannot be written"):
        small.write(tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_wrong_lanes(small):
    with pytest.raises(UserError, match="made for 8 lanes, the hardware has 16: "):
        small.check_fits(Machine.for_models(16, SMALL))


@pytest.mark.parametrize(
    ("field", "named"),
    [
        ("operand_words", "operand words"),
        ("activation_words", "activation words"),
        ("stream_elements", "stream elements"),
        ("program_words", "program words"),
        ("vocabulary", "vocabulary"),
        ("context", "context"),
    ],
)
def test_too_large_for_the_hardware(random_model, field, named):
    machine = Machine.for_models(16, ODD)
    image = build_image(random_model(ODD), machine)
    least = {"vocabulary": ODD.vocabulary, "context": ODD.context, "stream_elements": ODD.width}
    smaller = replace(machine, **{field: least.get(field, getattr(machine, field) // 2 + 1) - 1})
    with pytest.raises(UserError, match=named):
        image.check_fits(smaller)


def test_other_heads_do_not_fit(random_model):
    image = build_image(random_model(ODD), Machine.for_models(16, ODD))
    two = replace(ODD, heads=2)
    with pytest.raises(UserError, match="heads"):
        image.check_fits(Machine.for_models(16, two))


def test_a_model_fits_larger_hardware(random_model):
    machine = Machine.for_models(16, ODD, ModelConfig.GATEGPT)
    image = build_image(random_model(ODD), machine)
    image.check_fits(machine)
    assert image.config == ODD


def test_slots_are_the_hardwares(random_model):
    machine = Machine.for_models(16, ODD, slots=2)
    image = build_image(random_model(ODD), machine)
    again = Image.decode(image.encode())
    assert again == image
    assert again.machine == machine
    with pytest.raises(UserError, match="made for 2 slots, the hardware has 0"):
        image.check_fits(Machine.for_models(16, ODD))
    joining = Machine.for_models(16, replace(ODD, layers=1), slots=2)
    wide = replace(joining, operand_words=1 << 14, program_words=64, slot_words=machine.slot_words)
    with pytest.raises(UserError, match="joins prefixes"):
        image.check_fits(wide)


@pytest.mark.parametrize("lanes", LANES)
def test_every_weight_is_where_the_layout_says_and_the_rest_is_zero(random_model, lanes):
    model = random_model(ODD)
    machine = Machine.for_models(lanes, ODD)
    layout = Layout(machine, ODD)
    memory = np.frombuffer(build_image(model, machine).regions[Region.OPERANDS], np.int8)
    memory = memory.reshape(-1, machine.units, QUAD).astype(np.int64)
    left = memory.copy()
    heads, head_width = ODD.heads, ODD.head_width
    for name, place in layout.matrices.items():
        weights, name = model.weights[name], name.rpartition("_")[2]
        for row, column in np.ndindex(weights.shape):
            output, value = row, column
            head, inner = divmod(row, head_width)
            if name in ("wq", "wk"):
                # Quads alternate between the heads; a head's last quad may be padded.
                output = (inner // QUAD * heads + head) * QUAD + inner % QUAD
            if name == "wv":
                output = inner * heads + head
            if name == "wo":
                head, inner = divmod(column, head_width)
                value = inner * heads + head
            pass_, unit = divmod(output, machine.units)
            quad, lane = divmod(value, QUAD)
            at = (place.base + pass_ * place.quads + quad, unit, lane)
            assert memory[at] == weights[row, column]
            left[at] = 0
    assert not left.any()


def test_the_other_regions(random_model):
    model = random_model(ODD)
    machine = Machine.for_models(64, ODD)
    image = build_image(model, machine)
    regions = image.regions
    assert set(regions) == set(COMMON)
    program = [s.instruction for s in compile_program(model, Layout(machine, ODD))]
    words = regions[Region.PROGRAM]
    assert [Instruction(*fields) for fields in INSTRUCTION.iter_unpack(words)] == program
    halves = InstructionLayout(machine)
    loaded = image.contents(machine)[Region.PROGRAM]
    assert len(loaded) == halves.stride * len(program)
    for i, instruction in enumerate(program):
        word = loaded[i * halves.stride : (i + 1) * halves.stride]
        assert word == halves.encode(instruction).ljust(halves.stride, b"\0")
    for region, table in (
        (Region.TOKENS, model.weights["wte"]),
        (Region.POSITIONS, model.weights["wpe"]),
    ):
        assert np.frombuffer(regions[region], np.int8).tolist() == table.reshape(-1).tolist()
    last_beat = ODD.width // machine.writers - 1
    layout = Layout(machine, ODD)
    strides = [layout.key_stride, layout.value_stride]
    assert [*SETTINGS.unpack(regions[Region.SETTINGS])] == [
        ODD.vocabulary - 1,
        ODD.context - 1,
        last_beat,
        *strides,
    ]


def test_the_table_of_recurrent_sums_takes_the_place_of_positions(random_model):
    config = replace(ODD, layers=1, positions="alibi", eviction="recurrent")
    model, machine = random_model(config), Machine.for_models(16, config)
    golden, image = RecurrentModel(model), build_image(model, machine)
    assert Image.decode(image.encode()) == image
    # Eleven queries, and values of six elements where the hardware has eight.
    table = np.frombuffer(image.regions[Region.POSITIONS], "<u2").reshape(11, 16, 4)
    assert table[:, :11].tolist() == golden.table.transpose(2, 1, 0).tolist()
    assert not table[:, 11:12].any()
    values = table[:, 12:].transpose(2, 0, 1).copy().view(np.int8)
    assert values[:, :, :6].tolist() == golden.values.tolist()
    assert not values[:, :, 6:].any()
    # Reading the chip back finds the same bytes.
    assert image.contents(machine)[Region.POSITIONS] == image.regions[Region.POSITIONS]
    assert [*Layout(machine, config).matrices] == [
        "layer0.attn_wo", "layer0.mlp_fc1", "layer0.mlp_fc2", "lm_head",
    ]  # fmt: skip


def test_penalties_take_no_table_of_positions(random_model):
    config = replace(ODD, positions="alibi")
    model, machine = random_model(config), Machine.for_models(16, config)
    image = build_image(model, machine)
    assert set(image.regions) == set(COMMON) - {Region.POSITIONS}
    assert Image.decode(image.encode()) == image
    assert memory_bits(machine)["positions"] == 0
    assert image.checked_sizes(machine).keys() == set(CHECKED) & set(COMMON) - {Region.POSITIONS}


def test_a_table_of_other_rows_is_refused(random_model):
    config = replace(ODD, layers=1, positions="alibi", eviction="recurrent")
    image = build_image(random_model(config), Machine.for_models(16, config))
    for larger in (replace(config, vocabulary=14), replace(config, width=48)):
        with pytest.raises(UserError, match="table of recurrent sums has other rows"):
            image.check_fits(Machine.for_models(16, config, larger))
    kept = replace(config, eviction="none")
    with pytest.raises(UserError, match="another cache"):
        image.check_fits(Machine.for_models(16, kept))


def test_the_load_port_gets_rows_of_embeddings_as_far_apart_as_the_hardware_needs(random_model):
    machine = Machine.for_models(16, ODD)
    assert (ODD.width, machine.stream_elements) == (24, 32)
    image = build_image(random_model(ODD), machine)
    writes = list(image.writes(machine))
    assert len({(region, address) for region, address, _ in writes}) == len(writes)
    for region, address, byte in writes:
        if region in (Region.TOKENS, Region.POSITIONS):
            row, element = divmod(address, 32)
            assert byte == image.regions[region][row * 24 + element]
        elif region is not Region.PROGRAM:
            assert byte == image.regions[region][address]


def test_the_header_can_be_read_without_the_rest(small):
    magic, version, lanes, *shape, _, _, keys, values, size, _, _ = HEADER.unpack_from(
        small.encode()
    )
    assert (magic, version, lanes) == (MAGIC, VERSION, 8)
    assert shape == [1, 4, 1, 4, 4, 3, 0, 0, 0]
    assert (keys, values) == (8, 8)
    assert size == len(small.encode()) - HEADER.size


def test_an_image_says_the_widths_of_its_keys_and_values(random_model):
    cache = CacheFormat(RowFormat(5), RowFormat(7))
    model = replace(random_model(SMALL), precision=Precision(cache=cache))
    machine = Machine.for_model(8, model)
    image = Image.decode(build_image(model, machine).encode())
    assert image.precision.cache.widths == (5, 7)
    assert image.machine == machine
    with pytest.raises(UserError, match="of 5 and values of 7 bits, the hardware keeps 8 and 8"):
        image.check_fits(Machine.for_models(8, SMALL))


def test_documents_that_end_with_another_token_are_refused(random_model):
    words = {"model": {"type": "WordLevel", "vocab": dict(a=0, b=1, c=2), "unk_token": "a"}}
    one, two = (
        replace(random_model(SMALL), tokenizer=Library(json.dumps(words), 1, end)) for end in (1, 2)
    )
    machine = Machine.for_models(8, SMALL)
    assert SETTINGS.unpack(build_image(one, machine).regions[Region.SETTINGS])[0] == 1
    with pytest.raises(UserError, match="begins with 1 and ends with 2"):
        build_image(two, machine)
