"""Tools for building, loading and talking to boards: found on this machine, or how to get them."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from ctypes.util import find_library
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from gptloom.boards.table import BOARDS
from gptloom.boards.tools import PACKAGES

EXTRA = "pip install 'gptloom[boards]'"
RULES_FOLDERS = tuple(
    Path(folder) for folder in ("/etc/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d")
)
USB_BRIDGES = ("0403", "1d50", "1209")
"""USB vendors of the boards' programming interfaces: FTDI, OpenMoko, pid.codes."""


@dataclass(frozen=True)
class Finding:
    """Result of looking for one thing.

    Attributes
    ----------
    need
        Task that it is needed for.
    name
        Name of the thing.
    found
        Version or place; None if it is missing.
    remedy
        How to get it.
    """

    need: str
    name: str
    found: str | None
    remedy: str


def examine(compiler: str | None) -> Iterator[Finding]:
    """Look for everything.

    Parameters
    ----------
    compiler
        Title of the C++ compiler that simulation uses, if there is one.
    """
    yield Finding(
        "fast simulation", "C++ compiler", compiler, "install g++, or pip install 'gptloom[zig]'"
    )
    for package in ("amaranth-boards", *dict.fromkeys(PACKAGES.values())):
        yield Finding("building", package, _version(package), EXTRA)
    for tool in PACKAGES:
        yield Finding(
            "building with --native", tool, shutil.which(tool), "optional: your system's package"
        )
    loaders = {board.loader.tool: board.loader for board in BOARDS.values()}
    for tool, loader in loaders.items():
        names = [board.name for board in BOARDS.values() if board.loader.tool == tool]
        yield Finding(f"loading {', '.join(names)}", tool, shutil.which(tool), loader.install)
    yield Finding(
        "loading", "libusb", find_library("usb-1.0"), "install libusb 1.0 (Debian: libusb-1.0-0)"
    )
    if sys.platform.startswith("linux"):
        yield Finding(
            "loading without root",
            "udev rules",
            _rules(),
            "copy 99-openfpgaloader.rules of openFPGALoader to /etc/udev/rules.d, run 'udevadm "
            "control --reload' and plug the board in again",
        )
    yield Finding(
        "reading names",
        "serial ports",
        ", ".join(_serial_ports()) or None,
        "plug in a board; on Linux join the group dialout",
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _rules() -> str | None:
    """Return the first udev rule that names a programming interface's vendor."""
    for folder in RULES_FOLDERS:
        for file in sorted(folder.glob("*.rules")) if folder.is_dir() else ():
            try:
                text = file.read_text(errors="replace")
            except OSError:
                continue
            if "idVendor" in text and any(f'"{vendor}"' in text for vendor in USB_BRIDGES):
                return str(file)
    return None


def _serial_ports() -> list[str]:
    patterns = ("ttyUSB*", "ttyACM*", "cu.usbserial*", "cu.usbmodem*")
    return sorted(str(port) for pattern in patterns for port in Path("/dev").glob(pattern))
