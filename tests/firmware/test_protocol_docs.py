"""docs/serial.md has every code, as the protocol defines it."""

import re
from pathlib import Path

from gptloom.firmware.protocol import DAMAGED_AT, Command, Feature, Item, Reply, State

TEXT = (Path(__file__).parents[2] / "docs" / "serial.md").read_text()
TABLES = TEXT.split("<!-- codes -->")[1].split("<!-- end of codes -->")[0]


def test_the_tables_are_the_protocols():
    commands, replies, items = re.split(r"\n\n", TABLES.strip())
    for table, codes in ((commands, Command), (replies, Reply)):
        rows = re.findall(r"^\| `(\w\w)` \| (\w+) \|", table, re.MULTILINE)
        assert rows == [(f"{code:02X}", code.name) for code in codes]
    rows = re.findall(r"^\| (\d+) \| (\w+) \|", items, re.MULTILINE)
    assert rows == [(str(int(item)), item.name) for item in Item]
    assert ", ".join(f"{int(bit)} {bit.name}" for bit in State) in items
    assert f"bits: {', '.join(f'{int(bit)} {bit.name}' for bit in Feature)} |" in items
    assert f"from bit {DAMAGED_AT} on" in items
