"""One small bitstream of each family, from checkpoint to packed file, with the real tools."""

import json

import pytest

from gptloom.cli.main import main


@pytest.mark.long
@pytest.mark.parametrize(("board", "ending"), [("ice40-hx8k", "bin"), ("ulx3s-25f", "bit")])
def test_bitstream_meets_its_clock(tmp_path, board, ending):
    options = ["--lanes", "8", "--seeds", "2", "--folder", str(tmp_path)]
    assert not main(["build", "--board", board, *options])
    folder = tmp_path / f"{board}-folded-8"
    report = json.loads((folder / "report.json").read_text())
    assert report["met"]
    assert report["fmax_mhz"] >= report["constraint_mhz"] >= 80
    assert report["tokens_per_second"] == pytest.approx(
        report["constraint_mhz"] * 1e6 / report["cycles_per_token"], rel=1e-3
    )
    bitstream = (folder / f"{board}-folded-8.{ending}").read_bytes()
    # Preambles of iCE40 and ECP5 bitstreams.
    assert (b"\x7e\xaa\x99\x7e" if ending == "bin" else b"\xff\xff\xbd\xb3") in bitstream[:1000]
