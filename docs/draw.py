"""Draw the folded core from its code: `.venv/bin/python docs/draw.py` writes docs/drawn/*.svg.

It also makes the table of shapes in docs/limits.md.
Connections are those of the elaborated core, times are the program's timeline, the memory's map is
the layout, widths are the constants. A test holds the files equal to these drawings.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path

# Amaranth has no public form of connections: they are read from a module's internals.
from amaranth.hdl import Module, Value
from amaranth.hdl._ast import Assign, Signal, Switch
from amaranth.lib import wiring

from gptloom.firmware import fit
from gptloom.firmware.isa import Kind
from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import QUAD, Machine
from gptloom.firmware.program import compile_program
from gptloom.firmware.timeline import EMBED, SAMPLE, SOFTMAX, spans, timeline
from gptloom.hdl.folded.core import FoldedCore
from gptloom.model import arithmetic, tables
from gptloom.model.checkpoint import load_checkpoint
from gptloom.model.integer import IntegerModel
from gptloom.model.quantise import quantise
from gptloom.model.sampling import SEED_BITS

FOLDER, LIMITS = Path(__file__).parent / "drawn", Path(__file__).parent / "limits.md"
LANES = 16

INK, SOFT, LINE = "#1f2937", "#6b7280", "#d1d5db"
BLUE, PALE, AMBER, GREEN = "#2563eb", "#dbeafe", "#f59e0b", "#10b981"


class Picture:
    """An SVG on white, readable on light and dark pages.

    Attributes
    ----------
    width, height
        Dots.
    title
        Text alternative of the picture.
    """

    def __init__(self, width: float, height: float, title: str):
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" '
            f'width="{width:g}" height="{height:g}" font-family="sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
        ]
        self.box(0, 0, width, height, "#ffffff")

    def box(self, x, y, width, height, fill, line="none", hint="") -> None:
        """Add a rectangle; `hint` shows when the pointer rests on it."""
        inner = f"><title>{escape(hint)}</title></rect>" if hint else "/>"
        self._parts.append(
            f'<rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" '
            f'fill="{fill}" stroke="{line}"{inner}'
        )

    def text(self, x, y, text, anchor="start", fill=INK, size=12) -> None:
        """Add a line of text, by its baseline."""
        self._parts.append(
            f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="{fill}" '
            f'font-size="{size}">{escape(str(text))}</text>'
        )

    def line(self, x, y, to_x, to_y) -> None:
        """Add a thin line."""
        self._parts.append(
            f'<line x1="{x:g}" y1="{y:g}" x2="{to_x:g}" y2="{to_y:g}" stroke="{LINE}"/>'
        )

    def __str__(self) -> str:
        return "\n".join([*self._parts, "</svg>", ""])


@cache
def shipped_model() -> IntegerModel:
    """Return the model that everything is drawn for."""
    return quantise(load_checkpoint("names"))


def machine(lanes: int = LANES) -> Machine:
    """Return the machine that everything is drawn for."""
    return Machine.for_models(lanes, shipped_model().config)


# Connections between components


def connections() -> dict[tuple[str, str], set[str]]:
    """Return the ports by which each component of the folded core drives each other one.

    ``ports`` are the core's own, without those that load and read memories. Registers and gates
    between two components count as part of the connection.
    """
    core = FoldedCore(machine())
    module = core.elaborate(None)
    owner = {}
    for name, (component, _) in module._named_submodules.items():
        owner |= _owned(name, component)
    owner |= _owned("ports", core)
    drivers = {}
    for target, source in _drivers(module):
        if owner.get(target, ("", ""))[0] != "loading":
            drivers.setdefault(target, set()).add(source)
    found = {}
    for target, (name, port) in owner.items():
        for driver in {owner[source][0] for source in _sources(target, drivers) & owner.keys()}:
            if driver != name and "loading" not in (driver, name):
                found.setdefault((driver, name), set()).add(port)
    return found


def _owned(name: str, component: wiring.Component) -> dict[int, tuple[str, str]]:
    """Return whose each signal is, and in which port; ``loading``'s are the core's for memories."""
    return {
        id(signal): ("loading" if (name, path[0]) in _LOADING else name, str(path[0]))
        for path, _, port in component.signature.flatten(component)
        for signal in Value.cast(port)._rhs_signals()
    }


_LOADING = {("ports", "load"), ("ports", "read"), ("ports", "read_data")}


def _drivers(module: Module) -> Iterator[tuple[int, int]]:
    """Yield pairs of signals: one driven, one that it is made of."""
    for statements in module._statements.values():
        yield from _pairs(statements)


def _pairs(statements: Iterable) -> Iterator[tuple[int, int]]:
    for statement in statements:
        if isinstance(statement, Assign):
            sources: Iterable[Signal] = statement.rhs._rhs_signals()
            for target in statement.lhs._lhs_signals():
                yield from ((id(target), id(source)) for source in sources)
        elif isinstance(statement, Switch):
            for case in statement.cases:
                yield from _pairs(case[1])


def _sources(target: int, drivers: Mapping) -> set[int]:
    """Return what a signal is made of in the end: signals that the core itself does not drive."""
    found, seen, waiting = set(), set(), [target]
    while waiting:
        for source in drivers.get(waiting.pop(), ()):
            if source not in drivers:
                found.add(source)
            elif source not in seen:
                seen.add(source)
                waiting.append(source)
    return found


def draw_connections() -> Picture:
    """Draw who drives whom, components on the diagonal."""
    found = connections()
    names = ["ports", *FoldedCore(machine()).elaborate(None)._named_submodules]
    wide, high, left, top = 88, 28, 112, 30
    right, bottom = left + wide * len(names), top + high * len(names)
    picture = Picture(right + 20, bottom + 20, "Which component of the folded core drives which")
    picture.text(left, 18, "a row drives the columns that are marked in it", fill=SOFT)
    for row, driver in enumerate(names):
        y = top + row * high
        picture.line(left, y, right, y)
        picture.line(left + row * wide, top, left + row * wide, bottom)
        picture.text(left - 8, y + 18, driver, anchor="end")
        for column, driven in enumerate(names):
            x = left + column * wide
            ports = found.get((driver, driven))
            if row == column:
                picture.box(x, y, wide, high, PALE)
                picture.text(x + wide / 2, y + 18, driver, "middle", size=11)
            elif ports:
                fill = BLUE if column > row else AMBER
                hint = f"{driver} to {driven}: {', '.join(sorted(ports))}"
                picture.box(x + wide / 2 - 8, y + 6, 16, 16, fill, hint=hint)
    return picture


# When


def draw_timeline(lanes: int) -> Picture:
    """Draw one token at the last position: what the MAC array multiplies, and what it waits for."""
    model, made = shipped_model(), machine(lanes)
    schedule = compile_program(model, Layout(made, model.config))
    position = model.config.context - 1
    phases = timeline(schedule, made, position)
    length = phases[-1].start
    # A phase in which the MAC array only waits lasts until the next one.
    waits = {
        phase.name: (phase.start, after.start)
        for phase, after in pairwise(phases)
        if phase.name in (EMBED, SOFTMAX, SAMPLE)
    }
    rows = [(EMBED, *waits[EMBED], SOFT)]
    busy = 0
    for span in spans(schedule, made, position):
        kind, bar = span.scheduled.instruction.kind, (span.start, span.last_issue + 1)
        rows.append((span.scheduled.step.site.name, *bar, SOFT if kind is Kind.START else BLUE))
        if kind is not Kind.START:  # its operands pass the MAC array by
            busy += span.passes * span.quads
        if kind is Kind.SCORES:
            rows.append((SOFTMAX, *waits[SOFTMAX], SOFT))
    rows.append((SAMPLE, *waits[SAMPLE], SOFT))
    left, scale, high = 80, 760 / length, 20
    picture = Picture(
        left + length * scale + 60,
        50 + high * len(rows),
        f"A token at position {position} in a folded core of {lanes} lanes: {length} cycles",
    )
    picture.text(
        left,
        18,
        f"{lanes} lanes, position {position}: {length} cycles, in {busy} of them the MAC array "
        "multiplies (blue)",
        fill=SOFT,
    )
    bottom = 30 + high * len(rows)
    for cycle in range(0, length + 1, 50 if length > 200 else 20):
        picture.line(left + cycle * scale, 28, left + cycle * scale, bottom)
        picture.text(left + cycle * scale, bottom + 14, cycle, "middle", SOFT, 10)
    for row, (name, begin, end, fill) in enumerate(rows):
        y = 30 + row * high
        hint = f"{name}: cycles {begin} to {end - 1}"
        picture.text(left - 8, y + 14, name, anchor="end")
        picture.box(left + begin * scale, y + 3, (end - begin) * scale, high - 6, fill, hint=hint)
        picture.text(left + end * scale + 4, y + 14, end - begin, fill=SOFT, size=10)
    return picture


# Places in the operand memory


def draw_operands() -> Picture:
    """Draw the map of the operand memory: weights, then rows of the KV cache."""
    made = machine()
    layout = Layout(made, shipped_model().config)
    places = [
        (name.rpartition(".")[2], m.base, m.passes * m.quads, PALE)
        for name, m in layout.matrices.items()
    ]
    keys, values, end = layout.key_base(0), layout.value_base(0), layout.operand_words
    places += [("keys", keys, values - keys, AMBER), ("values", values, end - values, GREEN)]
    places.append(("free", end, made.operand_words - end, "#ffffff"))
    left, scale = 20, 840 / made.operand_words
    cell, words = 26, max(layout.key_stride, layout.value_stride)
    groups = [
        ("keys", i, keys + i * layout.key_stride, layout.key_stride, AMBER)
        for i in range(layout.head_quads)
    ]
    groups += [
        ("values", i, values + i * layout.value_stride, layout.value_stride, GREEN)
        for i in range(layout.value_passes)
    ]
    picture = Picture(
        880,
        120 + cell * len(groups),
        f"The operand memory of {made.lanes} lanes: {made.operand_words} words of "
        f"{made.lanes} bytes",
    )
    picture.text(
        left, 18, f"{made.operand_words} words of {made.lanes} bytes, by address", fill=SOFT
    )
    for name, base, size, fill in places:
        x, wide = left + base * scale, size * scale
        hint = f"{name}: {size} words from {base}"
        picture.box(x, 28, wide, 30, fill, INK, hint)
        if wide > 40:
            picture.text(x + wide / 2, 47, name, "middle")
    picture.text(
        left, 86, "the cache enlarged: a word and the positions whose elements it holds", fill=SOFT
    )
    wide = (860 - 130) / words
    for row, (name, index, base, size, fill) in enumerate(groups):
        y = 98 + row * cell
        what = "quad" if name == "keys" else "pass"
        picture.text(left, y + 17, f"{name}, {what} {index}, from {base}", size=11)
        for word in range(size):
            x = left + 130 + word * wide
            picture.box(x, y, wide, cell - 4, fill, "#ffffff")
            picture.text(x + wide / 2, y + 15, _positions(name, word, made), "middle", size=11)
    return picture


def _positions(name: str, word: int, made: Machine) -> str:
    """Return which positions a word of the cache belongs to."""
    if name == "keys":
        count = made.positions_per_word
        first = word * count // made.words_per_position
    else:
        count, first = QUAD, word * QUAD
    return f"{first}" if count == 1 else f"{first} to {first + count - 1}"


# How many bits


def draw_numbers() -> Picture:
    """Draw the bits of every kind of number: sign, whole and fraction."""
    a, t = arithmetic, tables
    kinds = [
        ("weight, embedding, key, value", a.WEIGHT_BITS, 0, True),
        ("activation", a.ACTIVATION_BITS, 0, True),
        ("sum of products, of 64 at most", machine().accumulator_bits, 0, True),
        (f"the same, {a.PRE_SHIFT} bits dropped, clipped", a.SCALED_BITS, 0, True),
        ("mantissa of a scale", a.MANTISSA_BITS, 0, False),
        ("score, in octaves", a.ACTIVATION_BITS, a.SCORE_FRACTION, True),
        ("softmax numerator", t.EXP2_FRACTION, t.EXP2_FRACTION, False),
        ("logit over temperature, in nats", a.LOGIT_BITS, a.LOGIT_FRACTION, True),
        ("Gumbel noise, in nats", t.NOISE_BITS, a.LOGIT_FRACTION, True),
        ("state of the random numbers", SEED_BITS, 0, False),
    ]
    left, side, high = 230, 18, 28
    most = max(bits for _, bits, _, _ in kinds)
    picture = Picture(
        left + side * most + 60, 40 + high * len(kinds), "Bits of the folded core's numbers"
    )
    for i, (name, fill) in enumerate((("sign", AMBER), ("whole", PALE), ("fraction", GREEN))):
        picture.box(left + i * 90, 8, 14, 14, fill, INK)
        picture.text(left + i * 90 + 20, 20, name, fill=SOFT)
    for row, (name, bits, fraction, signed) in enumerate(kinds):
        y = 36 + row * high
        picture.text(left - 10, y + 14, name, anchor="end")
        for bit in range(bits):
            is_fraction = bits - bit <= fraction
            fill = AMBER if signed and bit == 0 else GREEN if is_fraction else PALE
            # The lowest bits are below one another.
            picture.box(left + (most - bits + bit) * side, y, side, 18, fill, INK)
        picture.text(left + most * side + 8, y + 14, bits, fill=SOFT)
    return picture


def pictures() -> dict[str, str]:
    """Return every drawing by its file's name."""
    drawn = {
        "connections.svg": draw_connections(),
        "timeline-16.svg": draw_timeline(16),
        "timeline-64.svg": draw_timeline(64),
        "operands.svg": draw_operands(),
        "numbers.svg": draw_numbers(),
    }
    return {name: str(picture) for name, picture in drawn.items()}


# How large


SHAPES = ("<!-- shapes -->\n", "<!-- end of shapes -->\n")
"""Marks in docs/limits.md, before and after the table."""


def with_shapes(page: str) -> str:
    """Return docs/limits.md with a new table of shapes."""
    before, begin, rest = page.partition(SHAPES[0])
    _, end, after = rest.partition(SHAPES[1])
    rows = "".join(
        f"| {name} | {most:,} |{' a multiple of 4' * (name in fit.IN_QUADS)} |\n"
        for name, most in fit.MOST.items()
    )
    return f"{before}{begin}| dimension | at most | |\n| --- | ---: | --- |\n{rows}{end}{after}"


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    LIMITS.write_text(with_shapes(LIMITS.read_text()))
    for file, text in pictures().items():
        (FOLDER / file).write_text(text)
        print(FOLDER / file)
