"""`gptloom doctor`: tools found on this machine, missing ones, and how to get them."""

from __future__ import annotations


def doctor() -> None:
    """List this machine's tools for building and loading, and how to get the missing ones."""
    from rich.console import Console
    from rich.table import Table

    from gptloom.boards.doctor import examine
    from gptloom.sim.engines.compilers import find_quick_compiler

    compiler = find_quick_compiler()
    table = Table(box=None, pad_edge=False)
    for heading in ("needed for", "what", "found, or how to get it"):
        table.add_column(heading, overflow="fold")
    for finding in examine(compiler.title if compiler else None):
        mark, text = ("✓", finding.found) if finding.found else ("✗", finding.remedy)
        style = None if finding.found else "yellow"
        table.add_row(finding.need, f"{mark} {finding.name}", text, style=style)
    Console(highlight=False).print(table)
