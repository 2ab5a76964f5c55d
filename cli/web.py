"""``gptloom web``: the chip in a browser."""

from __future__ import annotations

from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import inf
from pathlib import Path
from typing import Annotated

import typer

from gptloom.cli.cores import Lanes, Profile, Rows, cache_options, load_plain, machine_of
from gptloom.model.errors import UserError
from gptloom.model.files import check_writable, is_ours, stamped, write_file


def web(
    build: Annotated[
        Path | None, typer.Option(help="Only build: write index.html into this folder.")
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to serve it at; 0 takes a free one.")
    ] = 8000,
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name or a file.")
    ] = "names",
    lanes: Lanes = None,
    rows: Rows = None,
    profile: Profile = None,
    clock: Annotated[
        float, typer.Option(help="MHz; at slower ones the display waits less.")
    ] = 80.0,
) -> None:
    """Build a page in which the hardware runs as WebAssembly, and serve it on this machine."""
    from rich.console import Console

    from gptloom.sim.engines import cache_folder
    from gptloom.sim.web.page import make_page

    if not 0 < clock < inf:
        raise UserError(f"a clock of {clock:g} MHz is none: give a positive one, such as 80")
    if build:
        page_file = check_page(build)
    model = load_plain(checkpoint, cache_options(None, rows, None), profile)
    machine = machine_of(model, lanes)
    with Console(stderr=True, highlight=False).status("Building the page") as status:
        page = make_page(model, checkpoint, machine, clock * 1e6, cache_folder(), status.update)
    content = stamped(page.encode(), b"<!-- ", b" -->")
    console = Console(highlight=False)
    if build:
        build.mkdir(exist_ok=True)
        write_file(page_file, content)
        console.print(f"Wrote {page_file}, {len(content):,} bytes.", soft_wrap=True)
        return
    with open_server(content, port) as server:
        host, found = server.server_address[:2]
        console.print(f"The chip runs at http://{host}:{found}/ (Ctrl-C ends)", soft_wrap=True)
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            console.print()


def check_page(folder: Path) -> Path:
    """Return the path of a page that is built into a folder.

    Raises
    ------
    UserError
        If it cannot be written there, or another page is there.
    """
    check_writable(folder / "index.html" if folder.exists() else folder)
    file = folder / "index.html"
    if not is_ours(file):
        raise UserError(f"{file} is not as this command made it: move it away, or name a folder")
    return file


def open_server(content: bytes, port: int) -> ThreadingHTTPServer:
    """Return a server of one page that only this machine can reach.

    Raises
    ------
    UserError
        If the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path not in ("/", "/index.html"):
                self.send_error(HTTPStatus.NOT_FOUND)
                return
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Do not log requests."""

    try:
        return ThreadingHTTPServer(("127.0.0.1", port), Handler)
    except OSError as error:
        raise UserError(
            f"port {port} cannot be used ({error.strerror}): name another one with --port"
        ) from error
