"""``gptloom verilog``: a core for use in other designs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gptloom.cli.cores import (
    CachePolicy,
    Lanes,
    Profile,
    Rows,
    Sinks,
    Slots,
    cache_options,
    load_plain,
    machine_of,
)
from gptloom.cli.output import check_outputs, console_for
from gptloom.model.errors import UserError

_RESERVED = """
always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config
deassign default defparam design disable edge else end endcase endconfig endfunction
endgenerate endmodule endprimitive endspecify endtable endtask event for force forever
fork function generate genvar highz0 highz1 if ifnone incdir include initial inout input
instance integer join large liblist library localparam macromodule medium module nand
negedge nmos nor noshowcancelled not notif0 notif1 or output parameter pmos posedge
primitive pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent rcmos real
realtime reg release repeat rnmos rpmos rtran rtranif0 rtranif1 scalared showcancelled
signed small specify specparam strong0 strong1 supply0 supply1 table task time tran
tranif0 tranif1 tri tri0 tri1 triand trior trireg unsigned use vectored wait wand weak0
weak1 while wire wor xnor xor
"""
KEYWORDS = frozenset(_RESERVED.split())
"""Keywords of IEEE 1364-2005."""


def verilog(
    out: Annotated[Path, typer.Option(help="The file to write.")],
    checkpoint: Annotated[
        str, typer.Option(help="A shipped checkpoint's name or a file.")
    ] = "names",
    lanes: Lanes = None,
    profile: Profile = None,
    cache: CachePolicy = None,
    rows: Rows = None,
    sinks: Sinks = None,
    slots: Slots = 0,
    name: Annotated[str, typer.Option(help="Name of the Verilog module.")] = "gptloom_core",
    empty: Annotated[
        bool, typer.Option("--empty", help="Without the model: the load port fills it.")
    ] = False,
) -> None:
    """Write a core as Verilog, with a model in its memories and its ports described."""
    from gptloom.firmware.image import build_image
    from gptloom.firmware.page import TEMPERATURES, encode_scale
    from gptloom.hdl.export import export
    from gptloom.hdl.folded.core import FoldedCore
    from gptloom.hdl.folded.layouts import Temperature
    from gptloom.hdl.preload import Preload
    from gptloom.model.files import write_file

    check_outputs(out)
    if not name.isidentifier() or not name.isascii() or name in KEYWORDS:
        raise UserError(
            f"{name!r} is no name for a Verilog module: use letters, digits and _, and no keyword"
        )
    model = load_plain(checkpoint, cache_options(cache, rows, sinks), profile)
    machine = machine_of(model, lanes, slots)
    lanes = machine.lanes
    image = build_image(model, machine)
    image_command = f"gptloom image --lanes {lanes}" + (f" --slots {slots}" if slots else "")
    about = f"GPTLoom: a language model with {lanes} multipliers"
    if empty:
        about += f", to be loaded with an image ('{image_command}')"
    else:
        about += f", which holds {checkpoint} (weights {image.checksum(machine):08X})"
    bos = model.tokenizer.bos
    shape = ", ".join(f"{key} {size}" for key, size in model.config.to_dict().items())
    about += f"\nModel: {shape}; the token {bos} begins and ends a document"
    for temperature in TEMPERATURES:
        scale = encode_scale(model.logit_scale(temperature))
        about += f"\nTemperature {temperature}: {Temperature.size}'h{scale:04x}"
    preload = None if empty else Preload.of(image, machine)
    text = export(FoldedCore(machine, preload=preload), name, about)
    write_file(out, text.encode())
    console_for(out).print(f"{out}: module {name}, {len(text):,} bytes", soft_wrap=True)
