"""Compilation of an integer model to the folded core's program."""

from math import ceil

from gptloom.firmware.fit import check_fits, check_precision
from gptloom.firmware.isa import (
    Combination,
    Destination,
    Exponents,
    Function,
    Input,
    Instruction,
    Kind,
    Scale,
)
from gptloom.firmware.layout import Layout, programmed
from gptloom.firmware.schedule import Scheduled, Scheduler, Step
from gptloom.model.cache import Eviction
from gptloom.model.config import ModelConfig
from gptloom.model.integer import IntegerModel
from gptloom.model.network import Network
from gptloom.model.sites import Becomes, Site
from gptloom.model.sites import Kind as SiteKind


def compile_program(model: IntegerModel, layout: Layout) -> list[Scheduled]:
    """Return the instructions of one token, scheduled.

    Parameters
    ----------
    model
        Integer model, whose shifts become part of the program.
    layout
        Layout for the same shape.

    Raises
    ------
    UserError
        If the layout's machine cannot hold the model.
    """
    check_precision(model.config.family, model.precision)
    check_fits(model.config, model.precision, layout.machine)
    table, program, start = layout.network, [], []
    last = _last_of_prompt(table, model.config)
    for site in table.computed:
        if not programmed(site):
            continue
        step = Step(site, _instruction(site, model, layout, prefill_final=site is last))
        if site.becomes is Becomes.RESIDUAL:
            start = [step]
            continue
        program.append(step)
        if site.kind in (SiteKind.SCORES, SiteKind.SUMS):
            # Only the residual needs the normalised embedding. It waits until the drain is idle,
            # as it is while the softmax works; recurrent sums are ready before the norm.
            program += start
            start = []
    return Scheduler(layout).schedule(program)


def _last_of_prompt(table: Network, config: ModelConfig) -> Site:
    """Return the last site that a prompt's token needs: it is cached, or updates eviction or sums.

    Eviction depends on attention, also that of a prompt's tokens.
    """
    attends = (SiteKind.MIX,) if config.eviction is Eviction.ATTENTION else (SiteKind.SUMS,)
    return [site for site in table.computed if site.is_cached or site.kind in attends][-1]


def _instruction(site: Site, model: IntegerModel, layout: Layout, **flags: bool) -> Instruction:
    """Return the instruction that computes a site."""
    if site.kind is SiteKind.SCORES:
        # The scale of scores is a constant, and the sequencer knows their number.
        results = {}
    else:
        results = dict(
            rows=len(layout.order(site)),
            scale=Scale[site.scale.name],
            shift=model.shifts[site.key] - 1 if site.shifted else 0,
            function=Function.ROTATE if site.rotated else Function[site.function.name],
            combination=Combination[site.combination.name],
            input=_input(site),
            exponents=_exponents(site, layout),
        )
    return Instruction(
        **_operands(site, layout),
        source=layout.activations(layout.network[site.source]) if site.kind in _READERS else 0,
        destination=Destination[site.becomes.name],
        target=_target(site, layout),
        **results,
        final=site is layout.network.head,
        **flags,
    )


def _input(site: Site) -> Input:
    """Return what becomes a site's results."""
    if site.kind not in (SiteKind.NORM, SiteKind.EMBEDDING):
        return Input.SUMS
    return Input.GAINED if site.gain else Input.STREAM


def _exponents(site: Site, layout: Layout) -> Exponents:
    """Return which exponents a site's rows have."""
    if site.kind is SiteKind.EMBEDDING:
        return Exponents.TOKEN
    return Exponents.ROWS if site in layout.exponent_sites else Exponents.NONE


_READERS = (SiteKind.PRODUCT, SiteKind.SCORES, SiteKind.MIX)
"""Kinds of sites that read the activation memory."""


def _operands(site: Site, layout: Layout) -> dict[str, int]:
    """Return the operands that the MAC array multiplies, in how many passes of how many quads."""
    match site.kind:
        case SiteKind.PRODUCT:
            place = layout.matrices[site.matrix.name]
            return dict(kind=Kind.MATRIX, base=place.base, passes=place.passes, quads=place.quads)
        case SiteKind.SCORES:
            base = layout.key_base(site.layer)
            return dict(kind=Kind.SCORES, base=base, quads=layout.head_quads)
        case SiteKind.MIX:
            base = layout.value_base(site.layer)
            return dict(kind=Kind.VALUES, base=base, passes=layout.value_passes)
    return dict(kind=Kind.START, passes=ceil(site.elements / layout.machine.units), quads=1)


def _target(site: Site, layout: Layout) -> int:
    """Return the first word that results are written to."""
    match site.becomes:
        case Becomes.KEY:
            return layout.key_base(site.layer)
        case Becomes.VALUE:
            return layout.value_base(site.layer)
        case Becomes.RESIDUAL | Becomes.LOGITS | Becomes.GATE:
            return 0
    return layout.activations(site)
