"""Limits of the folded core: whether it, or a machine, can have a model is decided only here.

Widths of the hardware follow from the machine (:class:`.Machine`, :class:`.InstructionLayout`), so
these are not the limits of today's parts: :mod:`.boards.estimate` tells what a part holds.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from gptloom.firmware.machine import LANE_BITS, LANES, LEAST_LANES, QUAD, SLOTS, Machine
from gptloom.model.cache import Eviction
from gptloom.model.errors import UserError
from gptloom.model.family import Family
from gptloom.model.formats import PROFILES, STANDARD, Precision

if TYPE_CHECKING:
    from gptloom.model.config import ModelConfig

MOST = {
    "layers": 16,
    "width": 1024,
    "heads": 16,
    "hidden": 1024,
    "context": 1024,
    "vocabulary": 4096,
}
"""Largest dimensions, by their names in :class:`.ModelConfig`. Ports for tokens, positions and
addresses take their widths from here, so that all cores have the same interface."""

IN_QUADS = ("width", "hidden", "context")
"""Dimensions that the MAC array consumes four at a time."""

ADDRESS_BITS = 28
"""Width of a byte address on the load port; the largest model's weights, keys and values fit."""


def check_machine(machine: Machine) -> None:
    """Refuse a machine that cannot be built.

    Raises
    ------
    UserError
        Naming what cannot be together, and what to choose.
    """
    if machine.lanes not in LANES:
        allowed = ", ".join(map(str, LANES))
        raise UserError(f"{machine.lanes} lanes cannot be built: choose one of {allowed}")
    if machine.slots not in SLOTS:
        allowed = ", ".join(map(str, SLOTS[1:]))
        raise UserError(f"{machine.slots} slots cannot be built: choose one of {allowed}")
    if machine.slots and machine.eviction is not Eviction.NONE:
        raise UserError(
            "slots keep prefixes for documents that start again, and with --cache there is one "
            "without end: leave one out"
        )
    if machine.slots and machine.rotary:
        raise UserError(
            "slots keep prefixes whose positions are learned or penalties, and this model "
            "turns its keys: leave the slots out"
        )
    if machine.lanes < LEAST_LANES[machine.family]:
        raise UserError(
            f"{machine.lanes} lanes write one result a cycle, and the family {machine.family} "
            f"needs pairs: choose {' or '.join(map(str, LANES[LANES.index(32) :]))} lanes"
        )
    if machine.gated and machine.eviction not in (Eviction.NONE, Eviction.WINDOW):
        raise UserError(
            f"the family {machine.family} has a cache that ends or a window, not one with the "
            f"eviction {machine.eviction}: choose --cache window"
        )
    if machine.shares > machine.units:
        raise UserError(
            f"{machine.shares} heads share a key, and {machine.lanes} lanes compute "
            f"{machine.units} heads at a time: choose {QUAD * machine.shares} lanes"
        )


def check_size(config: ModelConfig) -> None:
    """Refuse a shape that is too large for every folded core.

    Raises
    ------
    UserError
        Naming the dimension that is too large, by how much, and what would fit.
    """
    for name, most in MOST.items():
        size = getattr(config, name)
        if size > most:
            raise UserError(
                f"{name} {size} is {size - most} more than a folded core can have: use at most "
                f"{most}"
            )


def check_shape(config: ModelConfig) -> None:
    """Refuse a shape that no folded core computes, with any number of lanes.

    Raises
    ------
    UserError
        Naming the dimension that does not fit, by how much, and what would fit.
    """
    check_size(config)
    sizes = {name: getattr(config, name) for name in IN_QUADS}
    # Attention's output is a source like any other.
    for name, size in (sizes | {"heads * head_dim": config.heads * config.head_width}).items():
        if size % QUAD:
            below = size // QUAD * QUAD
            near = f"{below} or {below + QUAD}" if below else str(QUAD)
            raise UserError(f"{name} {size} does not divide into fours: use {near}")


def check_precision(family: Family, precision: Precision) -> None:
    """Refuse a precision for which the folded core has no hardware.

    Parameters
    ----------
    family
        Family of the model.
    precision
        Its widths.

    Raises
    ------
    UserError
        Naming the widths.
    """
    if family is Family.LLAMA:
        if _others(precision) not in map(_others, PROFILES.values()):
            raise UserError(
                f"the folded core has no hardware for these widths of a {family}: quantise the "
                f"model with --profile {' or '.join(PROFILES)}"
            )
        return
    widest = max(precision.weights, *precision.cache.widths)
    if widest > LANE_BITS or _others(precision) != STANDARD:
        raise UserError(
            f"the folded core computes with {STANDARD.activations} bits, and with weights, keys "
            f"and values of at most {LANE_BITS}: quantise the model with these"
        )


def _others(precision: Precision) -> Precision:
    """Return a precision's widths of everything but weights, keys and values."""
    return replace(precision, weights=STANDARD.weights, cache=STANDARD.cache)


def check_fits(config: ModelConfig, precision: Precision, machine: Machine) -> None:
    """Refuse a model that a machine cannot hold, or whose kind it does not compute.

    Parameters
    ----------
    config
        Shape of the model.
    precision
        Widths of the model's weights, keys, values and everything else.
    machine
        The machine.

    Raises
    ------
    UserError
        Naming what differs, or the dimension that does not fit, and what to do.
    """
    # A layout checks the shape.
    from gptloom.firmware.layout import Layout

    families = ((c.family, c.cached_heads, c.head_dim or 0) for c in (config, machine))
    if len(set(families)) > 1:
        raise UserError(
            "the model is of another family than the hardware, or has other heads: build it for "
            "that model"
        )
    layout, cached_bits = Layout(machine, config), precision.cache.widths
    if cached_bits != machine.cache.widths:
        raise UserError(
            "the model has keys of {} and values of {} bits, the hardware keeps {} and {}: "
            "quantise the model with these".format(*cached_bits, *machine.cache.widths)
        )
    if precision.weights > machine.lane_bits or _others(precision) != _others(machine.precision):
        raise UserError(
            "the model has other widths than the hardware: build it for a model of that profile"
        )
    if machine.joins and config.layers > 1:
        raise UserError(
            "the hardware joins prefixes, which takes a model of one layer: build it for the "
            f"model's {config.layers} layers"
        )
    kinds = ((c.positions, c.eviction, c.sinks) for c in (config, machine))
    if len(set(kinds)) > 1:
        raise UserError(
            "the model has other positions or another cache than the hardware: build it for that "
            "model"
        )
    if machine.recurrent:
        own = Machine.for_models(machine.lanes, config)
        if (own.row_words, own.value_words) != (machine.row_words, machine.value_words):
            raise UserError(
                "the model's table of recurrent sums has other rows than the hardware's: build it "
                "for that model"
            )
    needs = dict(
        heads=(config.heads, machine.heads),
        operand_words=(layout.operand_words, machine.operand_words),
        activation_words=(layout.activation_words, machine.activation_words),
        stream_elements=(config.width, machine.stream_elements),
        program_words=(layout.program_words, machine.program_words),
        vocabulary=(config.vocabulary, machine.vocabulary),
        context=(config.context, machine.context),
        inputs=(max(config.width, config.hidden, config.heads * config.head_width), machine.inputs),
        rows=(layout.most_rows, machine.rows),
        exponent_words=(layout.exponent_words, machine.exponent_words),
    )
    for name, (needed, there) in needs.items():
        if needed > there or (name == "heads" and needed != there):
            raise UserError(
                f"the model needs {needed} {name.replace('_', ' ')}, the hardware has {there}: "
                "build it for a larger model"
            )
