"""Loaders of bitstreams: the tool for a board, and its arguments."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Loader:
    """One way to load bitstreams.

    Attributes
    ----------
    tool
        Name of the command.
    sram, flash
        Its arguments before the file, for volatile and for non-volatile memory; None if it cannot
        write that memory.
    install
        How to get it.
    absent
        Parts of its message if no board is plugged in.
    """

    tool: str
    sram: tuple[str, ...] | None
    flash: tuple[str, ...] | None
    install: str
    absent: tuple[str, ...]


def open_fpga_loader(*board: str) -> Loader:
    """Return the loader for a board that openFPGALoader knows by these arguments."""
    return Loader(
        tool="openFPGALoader",
        sram=(*board, "--write-sram"),
        flash=(*board, "--write-flash"),
        install="install openFPGALoader, packaged by Debian, Fedora, Arch and Homebrew",
        absent=("unable to open", "device not found", "no device", "fails to open"),
    )


ICEPROG = Loader(
    tool="iceprog",
    sram=("-S",),
    flash=(),
    install="install iceprog, in the package fpga-icestorm or icestorm",
    absent=("can't find ice ftdi", "can't find"),
)

ICEPROG_FLASH_ONLY = Loader(ICEPROG.tool, None, (), ICEPROG.install, ICEPROG.absent)

ICESPROG = Loader(
    tool="icesprog",
    sram=None,
    flash=(),
    install="install icesprog of the icesugar project (github.com/wuxx/icesugar)",
    absent=("no device", "not found", "open device failed", "failed"),
)

DFU = Loader(
    tool="dfu-util",
    sram=None,
    flash=("--device", "1209:5af0", "--alt", "0", "--download"),
    install="install dfu-util, packaged by most systems",
    absent=("no dfu capable usb device", "cannot open dfu device"),
)
