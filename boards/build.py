"""From a design to a bitstream: synthesis once, placement for several seeds, packing the best."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from gptloom.boards import checks
from gptloom.boards.bitstreams import REPORT, SWAPPED
from gptloom.boards.board import Board
from gptloom.boards.carries import free_carries
from gptloom.boards.contents import placeholder
from gptloom.boards.design import NAME, Sources
from gptloom.boards.patch import pack, patch, workplace
from gptloom.boards.report import Timing, parse_timing
from gptloom.boards.tools import ToolError, Tools
from gptloom.firmware.image import Image
from gptloom.firmware.machine import Machine
from gptloom.hdl.preload import Preload
from gptloom.model.errors import UserError

NO_COLLISION = "setparam -set COLLISION_X_MASK 1'1 */a:no_rw_check %m t:$memrd_v2 %i"
"""Yosys command that frees the read ports of :data:`gptloom.hdl.attributes.NO_COLLISION`."""

Stage = Callable[[str], AbstractContextManager[None]]
"""Shows that the stage of this name is running, for as long as its context is open."""


class TimingError(Exception):
    """The placed design does not reach its clock."""


def synthesis_script(board: Board) -> str:
    """Return the yosys commands that make a netlist of a design."""
    family = board.family
    options = family.synthesis_options.get(board.device, "")
    return (
        f"read_rtlil {NAME}.il\n"
        f"{NO_COLLISION}\n"
        f"{family.synthesis} {options} -top {NAME}\n"
        f"write_json {NAME}.json\n"
    )


@dataclass(frozen=True)
class Build:
    """One build in its folder.

    Attributes
    ----------
    board
        The board.
    folder
        ``build/<board>-<design>``; everything is written there.
    tools
        Tools to run.
    stage
        Shows progress.
    frees_carries
        See :func:`.free_carries`.
    """

    board: Board
    folder: Path
    tools: Tools
    stage: Stage
    frees_carries: bool = False

    @property
    def bitstream(self) -> Path:
        """The file that `flash` takes; it exists only if timing is met."""
        return self.folder / f"{self.folder.name}.{self.board.family.bitstream}"

    @property
    def placed(self) -> Path:
        """The placed design, with random memory contents; see :mod:`.contents`."""
        return self.folder / f"{self.folder.name}.{self.board.family.placed}"

    @property
    def image(self) -> Path:
        """The model in the bitstream."""
        return self.folder / f"{self.folder.name}.img"

    def required_tools(self) -> tuple[str, ...]:
        """Return the names of the tools in order of use."""
        family = self.board.family
        return ("yosys", family.place, family.pack[0], family.contents[0])

    def find_tools(self) -> None:
        """Refuse to begin if any tool needed on the way is missing.

        Raises
        ------
        UserError
            Naming the missing tool.
        """
        for name in self.required_tools():
            self.tools.find(name)

    def begin(self) -> None:
        """Make the folder and remove what an earlier build left in it.

        From here on the folder's contents belong together: no earlier design's bitstream is left.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in (
            self.bitstream,
            self.placed,
            self.image,
            self.folder / SWAPPED,
            *self.folder.glob("seed*"),
            *self._reports(),
        ):
            file.unlink(missing_ok=True)

    def _reports(self) -> Iterable[Path]:
        return (self.folder / REPORT, self.folder / "report.md")

    def synthesise(self, sources: Sources, required: checks.Required) -> int:
        """Run yosys, check its netlist (see :mod:`.checks`) and return the number of flip-flops.

        Raises
        ------
        UserError
            If yosys fails or lost a part of the design.
        """
        family = self.board.family
        script = checks.SCRIPT.format(name=NAME) + synthesis_script(self.board)
        (self.folder / f"{NAME}.il").write_text(sources.rtlil)
        (self.folder / f"{NAME}.{family.constraints}").write_text(sources.constraints)
        (self.folder / f"{NAME}.ys").write_text(script)
        with self.stage("synthesis"):
            self.tools.run("yosys", ["-q", "-l", "synthesis.log", f"{NAME}.ys"], self.folder)
        netlists = (
            json.loads((self.folder / f"{NAME}{kind}.json").read_text())["modules"][NAME]
            for kind in (".before", ".kept", "")
        )
        before, kept, mapped = netlists
        checks.check_netlist(before, kept, mapped, family, required)
        if self.frees_carries:
            self._free_carries()
        return sum(
            cell["type"].startswith(family.flip_flop_cells) for cell in mapped["cells"].values()
        )

    def _free_carries(self) -> None:
        file = self.folder / f"{NAME}.json"
        netlist = json.loads(file.read_text())
        free_carries(netlist["modules"][NAME])
        file.write_text(json.dumps(netlist))

    def place(self, seeds: Iterable[int], clock_mhz: float) -> list[Timing]:
        """Place and route once for every seed, as many at a time as there are processors.

        Raises
        ------
        UserError
            If the design does not fit, or nextpnr fails for every seed.
        """
        seeds = list(seeds)
        workers = min(len(seeds), processors())
        timings, errors = [], []
        with ThreadPoolExecutor(workers) as pool:
            try:
                for attempt in [pool.submit(self._place, seed, clock_mhz) for seed in seeds]:
                    try:
                        timings.append(attempt.result())
                    except ToolError as error:
                        errors.append(error)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                self.tools.stop()
                raise
        if not timings:
            raise self._explain(errors[0])
        return timings

    def _place(self, seed: int, clock_mhz: float) -> Timing:
        board, family = self.board, self.board.family
        arguments = [
            *family.part(board.make_platform()),
            "--json", f"{NAME}.json",
            f"--{family.constraints}", f"{NAME}.{family.constraints}",
            family.place_output, f"seed{seed}.{family.placed}",
            "--report", f"seed{seed}.json",
            "--log", f"seed{seed}.log",
            "--seed", str(seed),
            # A missed clock is judged here, with the report at hand.
            "--timing-allow-fail",
            "--quiet",
        ]  # fmt: skip
        with self.stage(f"place and route, seed {seed}"):
            self.tools.run(family.place, arguments, self.folder)
        report = json.loads((self.folder / f"seed{seed}.json").read_text())
        return parse_timing(report, seed, clock_mhz)

    def _explain(self, error: ToolError) -> UserError:
        """Return an error that says what does not fit, if that is why nextpnr failed."""
        logs = "".join(log.read_text() for log in self.folder.glob("seed*.log"))
        over = {
            kind: (int(used), int(available))
            for kind, used, available in re.findall(r"(\w+):\s+(\d+)/\s*(\d+)\s+\d+%", logs)
            if int(used) > int(available)
        }
        if not over:
            return error
        needs = ", ".join(f"{used:,} {kind} of {have:,}" for kind, (used, have) in over.items())
        return UserError(
            f"the design does not fit the {self.board.device} of {self.board.name}, it needs "
            f"{needs}: choose a smaller core or a larger board"
        )

    def pack(self, timing: Timing) -> Path:
        """Make the bitstream of a design that already contains its model, whole or not at all.

        Raises
        ------
        UserError
            If packing fails.
        """
        family = self.board.family
        with self.stage("packing"), workplace(self.folder) as folder:
            os.replace(self.folder / f"seed{timing.seed}.{family.placed}", folder / "placed")
            pack(self.tools, family, folder, "placed", "packed")
            os.replace(folder / "packed", self.bitstream)
        return self.bitstream

    def pack_image(self, timing: Timing, image: Image, machine: Machine) -> Path:
        """Put the image into the memories and make the bitstream, whole or not at all.

        The placed design is kept as it is, with its placeholder: :func:`.swap` needs it.

        Raises
        ------
        UserError
            If the memories are not found in the placed design, or packing fails.
        """
        family = self.board.family
        seed_file = f"seed{timing.seed}.{family.placed}"
        with self.stage("memory contents and packing"), workplace(self.folder) as folder:
            os.replace(self.folder / seed_file, folder / "placed")
            contents = placeholder(image, machine), Preload.of(image, machine)
            patch(self.tools, family, folder, ("placed", "patched"), contents, machine)
            pack(self.tools, family, folder, "patched", "packed")
            image.write(self.image)
            os.replace(folder / "placed", self.placed)
            os.replace(folder / "packed", self.bitstream)
        return self.bitstream

    def discard(self) -> None:
        """Remove placed designs that did not become the bitstream."""
        for file in self.folder.glob(f"seed*.{self.board.family.placed}"):
            file.unlink()


def check_timing(timing: Timing, smaller: str = "") -> None:
    """Refuse a design that does not reach its clock.

    Parameters
    ----------
    timing
        Timing of the best placement.
    smaller
        Options of a smaller core, which may reach it.

    Raises
    ------
    TimingError
        With the slowest path and what to try.
    """
    if timing.met:
        return
    others = f", {smaller}" if smaller else ""
    raise TimingError(
        f"timing is not met, {timing.fmax_mhz:.1f} MHz instead of {timing.constraint_mhz:.1f}: "
        f"the slowest path is {timing.path}; try more --seeds, --clock {int(timing.fmax_mhz)}"
        f"{others}"
    )


def best_of(timings: Iterable[Timing]) -> Timing:
    """Return the fastest; among equals, the one with the lowest seed."""
    return max(timings, key=lambda timing: (timing.fmax_mhz, -timing.seed))


def processors() -> int:
    """Return how many processes may run at a time."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
