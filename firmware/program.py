"""From an integer model to the folded core's program."""

from math import ceil

from gptloom.firmware.isa import (
    MAX_INSTRUCTIONS,
    STRIDE_BITS,
    WIDTHS,
    Destination,
    Instruction,
    Kind,
    Scale,
)
from gptloom.firmware.layout import Layout
from gptloom.firmware.schedule import Scheduler, Slot, Step
from gptloom.model.cache import Eviction
from gptloom.model.errors import UserError
from gptloom.model.integer import IntegerModel


def compile_program(model: IntegerModel, layout: Layout) -> list[Slot]:
    """Return the instructions of one token, scheduled.

    Parameters
    ----------
    model
        Its shifts become part of the program.
    layout
        Of the same shape.

    Raises
    ------
    UserError
        If the model needs more than instructions can say.
    """
    program: list[Step] = []
    attention = _recurrence if model.config.recurrent else _attention
    for index in range(model.config.layers):
        program += attention(model, layout, index)
        program += _mlp(model, layout, index)
    head = _matrix(
        layout, 0, "lm_head", source=layout.stream, rows=model.config.vocabulary,
        destination=Destination.LOGITS, scale=Scale.TEMPERATURE, final=True,
    )  # fmt: skip
    slots = Scheduler(layout).schedule([*program, Step(0, "logits", head)])
    _check(slots, layout)
    return slots


def _check(slots: list[Slot], layout: Layout) -> None:
    c, lanes = layout.config, layout.machine.lanes
    if len(slots) > MAX_INSTRUCTIONS:
        raise UserError(
            f"{c.layers} layers take {len(slots)} instructions, a folded core has at most "
            f"{MAX_INSTRUCTIONS}: use fewer layers"
        )
    # The passes of a SCORES instruction are not in its word: the sequencer counts them.
    passes = 0 if c.recurrent else ceil(c.context * c.heads / layout.machine.units)
    if passes > 1 << WIDTHS["passes"]:
        raise UserError(
            f"a context of {c.context} takes {passes} passes over the keys with {lanes} lanes, a "
            f"folded core counts to {1 << WIDTHS['passes']}: use more lanes"
        )
    for what, needed, bits in (
        ("words of weights, keys and values", layout.operand_words, WIDTHS["base"]),
        ("words from one quad of keys to the next", layout.key_stride, STRIDE_BITS),
        ("words from one pass of values to the next", layout.value_stride, STRIDE_BITS),
    ):
        if needed > 1 << bits:
            raise UserError(
                f"the model takes {needed} {what} with {lanes} lanes, a folded core counts to "
                f"{1 << bits}: use more lanes or a smaller model"
            )
    try:
        for slot in slots:
            slot.instruction.encode()
    except ValueError as error:
        raise UserError(
            f"the model is too large for a folded core of {lanes} lanes ({error}): "
            "use more lanes or a smaller model"
        ) from error


def _attention(model: IntegerModel, layout: Layout, index: int) -> list[Step]:
    shift = _shifts(model, index)
    width, final = model.config.width, index == model.config.layers - 1
    keys, values = layout.key_base(index), layout.value_base(index)
    # What is attended decides what is evicted, for a prompt's tokens too.
    attends = model.config.eviction is Eviction.ATTENTION
    from_stream = dict(source=layout.stream, scale=Scale.NORM)
    query = _matrix(
        layout, index, "wq", **from_stream, shift=shift["q"], rows=layout.key_rows,
        target=layout.query,
    )  # fmt: skip
    key = _matrix(
        layout, index, "wk", **from_stream, shift=shift["k"], rows=layout.key_rows,
        destination=Destination.KEY, target=keys,
    )  # fmt: skip
    value = _matrix(
        layout, index, "wv", **from_stream, shift=shift["v"], rows=width,
        destination=Destination.VALUE, target=values,
        prefill_final=final and not attends,
    )  # fmt: skip
    score = Instruction(
        Kind.SCORES, base=keys, quads=layout.head_quads,
        source=layout.query, destination=Destination.SCORES, target=layout.scores,
    )  # fmt: skip
    mix = Instruction(
        Kind.VALUES, base=values, passes=layout.value_passes,
        source=layout.scores, target=layout.mixed, rows=width, scale=Scale.SUM, shift=shift["mix"],
        prefill_final=final and attends,
    )  # fmt: skip
    steps = dict(q=query, k=key, v=value, score=score)
    if index == 0:
        # Only the embedding is normalised for the residual; it waits for the drain to be idle,
        # which it is while the softmax works.
        steps["start"] = _start(model, layout)
    steps |= dict(mix=mix, out=_out(model, layout, index))
    return [Step(index, site, instruction) for site, instruction in steps.items()]


def _recurrence(model: IntegerModel, layout: Layout, index: int) -> list[Step]:
    """Return what is left of attention where sums are kept; known tokens need nothing but these."""
    width = model.config.width
    mix = Instruction(
        Kind.START, passes=layout.value_passes, quads=1, rows=width, target=layout.mixed,
        scale=Scale.SUM, shift=_shifts(model, index)["mix"], prefill_final=True,
    )  # fmt: skip
    # The mix is there before the norm.
    steps = dict(mix=mix, start=_start(model, layout), out=_out(model, layout, index))
    return [Step(index, site, instruction) for site, instruction in steps.items()]


def _start(model: IntegerModel, layout: Layout) -> Instruction:
    width = model.config.width
    return Instruction(
        Kind.START, passes=ceil(width / layout.machine.units), quads=1, rows=width,
        destination=Destination.RESIDUAL, scale=Scale.NORM, shift=model.start_shift - 1,
    )  # fmt: skip


def _out(model: IntegerModel, layout: Layout, index: int) -> Instruction:
    return _matrix(
        layout, index, "wo", source=layout.mixed, rows=model.config.width,
        shift=_shifts(model, index)["out"], destination=Destination.STREAM, target=layout.stream,
        residual=True,
    )  # fmt: skip


def _shifts(model: IntegerModel, index: int) -> dict[str, int]:
    """Return a layer's shifts by site, as instructions have them."""
    return {site: value - 1 for site, value in model.layers[index].shifts.items()}


def _mlp(model: IntegerModel, layout: Layout, index: int) -> list[Step]:
    shift = _shifts(model, index)
    hidden = _matrix(
        layout, index, "fc1", source=layout.stream, rows=model.config.hidden,
        target=layout.hidden, relu=True, shift=shift["hidden"],
    )  # fmt: skip
    mlp = _matrix(
        layout, index, "fc2", source=layout.hidden, rows=model.config.width,
        destination=Destination.STREAM, target=layout.stream, residual=True,
        scale=Scale.NORM, shift=shift["mlp"],
    )  # fmt: skip
    return [Step(index, "hidden", hidden), Step(index, "mlp", mlp)]


def _matrix(layout: Layout, index: int, name: str, **fields) -> Instruction:
    matrix = layout.matrices[index, name]
    return Instruction(
        Kind.MATRIX, base=matrix.base, passes=matrix.passes, quads=matrix.quads, **fields
    )
