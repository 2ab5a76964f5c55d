"""Files are recognised by their contents, and unknown ones refused with the list of known ones."""

import struct

import numpy as np
import pytest

from gptloom.model.errors import UserError
from gptloom.model.imports.options import End, Options
from gptloom.model.imports.recognise import (
    HUGGING_FACE,
    KNOWN,
    LLAMA2C,
    MICROGPT,
    read_model,
    recognise,
)


def test_kinds_are_told_by_contents(tmp_path):
    header = b'{"wte":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}'
    contents = {
        "a.safetensors": len(header).to_bytes(8, "little") + header,
        "no-suffix": len(header).to_bytes(8, "little") + header,
        "a.json": b' \n{"weights": {}}',
        "mark.json": b'\xef\xbb\xbf{"weights": {}}',
        "old.pt": b"\x80\2}.",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    np.save(tmp_path / "a.npy", np.zeros(2))
    np.savez(tmp_path / "a.npz", wte=np.zeros(2))
    for name in (*contents, "a.npy", "a.npz"):
        assert recognise(tmp_path / name) is MICROGPT
    (tmp_path / "model.bin").write_bytes(struct.pack("<7i", 64, 172, 5, 8, 4, 512, 512))
    assert recognise(tmp_path / "model.bin") is LLAMA2C
    (tmp_path / "config.json").write_text("{}")
    assert recognise(tmp_path) is HUGGING_FACE


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("notes.txt", b"Once upon a time", "nothing known"),
        ("empty", b"", "nothing known"),
        ("model.gguf", b"GGUF\3\0\0\0", "a GGUF file"),
        ("model.bin", b"GGUF\3\0\0\0", "a GGUF file"),
        ("model.bin", b"24ka\1\0\0\0", "a llama2.c export of version 1 or 2"),
        ("model.h5", b"\x89HDF\r\n", "an HDF5 file"),
    ],
)
def test_unknown_files_are_refused_with_the_known_ones(name, content, what, tmp_path):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as raised:
        recognise(tmp_path / name)
    assert f"{tmp_path / name} is {what}" in str(raised.value)
    assert KNOWN in str(raised.value)


def test_what_is_not_there_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"absent\.bin cannot be read \(No such file"):
        recognise(tmp_path / "absent.bin")
    with pytest.raises(UserError, match=r"a folder without config\.json"):
        recognise(tmp_path)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (Options(heads=4), "heads"),
        (Options(characters="abc"), "characters"),
        (Options(end=End.FIRST), "end"),
    ],
)
def test_options_of_another_kind_are_refused(options, name, tmp_path):
    (tmp_path / "model.bin").write_bytes(struct.pack("<7i", 64, 172, 5, 8, 4, 512, 512))
    with pytest.raises(UserError, match=f"llama2.c model, which --{name} is not for"):
        read_model(tmp_path / "model.bin", options)


def test_a_microgpt_keeps_its_context(tmp_path):
    (tmp_path / "model.json").write_text("{}")
    with pytest.raises(UserError, match="microGPT model, which --context is not for"):
        read_model(tmp_path / "model.json", Options(context=8))
