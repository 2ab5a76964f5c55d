"""`gptloom web`: refusals, and the page it serves."""

from threading import Thread
from urllib.error import HTTPError
from urllib.request import urlopen

import pytest

from gptloom.cli.main import main
from gptloom.cli.web import open_server


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--clock", "0"], "a clock of 0 MHz is none"),
        (["--build", "/there/is/none"], "there is no folder /there/is"),
        (["--checkpoint", "nobody"], "nobody"),
        (["--lanes", "7"], "7 lanes cannot be built"),
        (["--clock", "0.001"], "115200 baud cannot be made"),
    ],
)
def test_what_cannot_be_is_said(options, says, capsys, monkeypatch):
    # None of these needs the compiler.
    monkeypatch.setattr("gptloom.sim.web.wasm.find_zig", lambda: None)
    assert main(["web", *options]) == 2
    assert says in capsys.readouterr().err


def test_without_its_compiler_there_is_no_page(capsys, monkeypatch):
    monkeypatch.setattr("gptloom.sim.web.wasm.find_zig", lambda: None)
    assert main(["web"]) == 2
    assert "pip install 'gptloom[zig]'" in capsys.readouterr().err


def test_another_page_stays(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("gptloom.sim.web.page.make_page", lambda *_: "<p>chip</p>")
    page = tmp_path / "new" / "index.html"
    for _ in range(2):
        assert not main(["web", "--build", str(page.parent)])
    assert page.read_text().startswith("<p>chip</p>\n<!-- ")
    page.write_text("<p>my site</p>")
    assert main(["web", "--build", str(page.parent)]) == 2
    assert "index.html is not as this command made it" in capsys.readouterr().err
    assert page.read_text() == "<p>my site</p>"
    assert main(["web", "--build", str(page)]) == 2
    assert page.read_text() == "<p>my site</p>"


def test_one_page_is_served():
    with open_server(b"<title>chip</title>", 0) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = "http://{}:{}".format(*server.server_address)
        with urlopen(address) as answer:
            assert answer.read() == b"<title>chip</title>"
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        with pytest.raises(HTTPError, match="404"):
            urlopen(f"{address}/else")
        server.shutdown()
