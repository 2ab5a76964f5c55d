"""Contents of an image's regions: an integer model in the order of a machine's memories."""

import json
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from gptloom.firmware.layout import Layout
from gptloom.firmware.machine import (
    EXPONENT_ROW_BITS,
    LANE_BITS,
    QUAD,
    TABLE_BYTES,
    Machine,
)
from gptloom.firmware.regions import NINTHS, Region
from gptloom.model.integer import IntegerModel
from gptloom.model.recurrent import RecurrentModel
from gptloom.model.tables import rotary_speeds


def operands(model: IntegerModel, layout: Layout) -> bytes:
    """Return the matrices in the order in which the MAC array reads them, padded with zeros."""
    m, table = layout.machine, layout.network
    memory = np.zeros((layout.weight_words, m.units, QUAD), np.int64)
    orders = {
        site.matrix.name: (layout.order(site), layout.order(table[site.source]))
        for site in table.computed
        if site.matrix
    }
    natural = tuple(map(np.arange, table.tokens.shape))
    for name, place in layout.matrices.items():
        rows, columns = orders.get(name, natural)
        weights = model.weights[name][:, columns]
        weights = np.where(rows[:, None] >= 0, weights[rows], 0)
        padded = np.zeros((place.passes * m.units, place.quads * QUAD), np.int64)
        padded[: weights.shape[0], : weights.shape[1]] = weights
        tiles = padded.reshape(place.passes, m.units, place.quads, QUAD).transpose(0, 2, 1, 3)
        words = tiles.reshape(-1, m.units, QUAD)
        memory[place.base : place.base + len(words)] = words
    if m.lane_bits == LANE_BITS:
        return _bytes(memory)
    groups = memory.reshape(-1, NINTHS)
    ninths = np.packbits(groups < 0, axis=1, bitorder="little")
    return np.concatenate([ninths, groups.astype(np.uint8)], axis=1).tobytes()


def embeddings(model: IntegerModel, layout: Layout) -> dict[Region, bytes]:
    """Return the region of embeddings."""
    return {Region.TOKENS: _bytes(model.weights[layout.network.tokens.name])}


def exponents(model: IntegerModel, layout: Layout) -> dict[Region, bytes]:
    """Return the regions of rows' exponents, two a byte, and of gains; and what the model is."""

    def packed(exponents: NDArray[np.int64]) -> bytes:
        words = np.zeros(-len(exponents) % layout.machine.writers + len(exponents), np.uint8)
        words[: len(exponents)] = exponents
        return (words[::2] | words[1::2] << EXPONENT_ROW_BITS).tobytes()

    def of_rows(name: str, rows: NDArray[np.int64]) -> bytes:
        found = model.row_shifts.get(name, np.zeros(len(rows), np.int64))
        return packed(np.where(rows >= 0, found[rows], 0))

    table = layout.network
    sites = [(site.matrix.name, layout.order(site)) for site in layout.exponent_sites]
    gains = [model.weights[s.gain.name] for s in table.computed if s.gain]
    more = {
        "config": model.config.to_dict(),
        "precision": asdict(layout.machine.precision) | {"cache": None},
    }
    return {
        Region.TOKENS: of_rows(table.tokens.name, np.arange(table.tokens.rows)),
        Region.EXPONENTS: b"".join(of_rows(*site) for site in sites),
        Region.GAINS: b"".join(gain.astype("<i2").tobytes() for gain in gains),
        Region.MODEL: json.dumps(more).encode(),
    }


def positions(model: IntegerModel, machine: Machine) -> dict[Region, bytes]:
    """Return the region of positions, if the machine has one."""
    if machine.recurrent:
        return {Region.POSITIONS: _table(model, machine)}
    if machine.rotary:
        speeds = rotary_speeds(model.config.head_width, model.config.theta)
        return {Region.POSITIONS: speeds.astype("<u4").tobytes()}
    learned = model.network.positions
    return {Region.POSITIONS: _bytes(model.weights[learned.name])} if learned else {}


def _table(model: IntegerModel, machine: Machine) -> bytes:
    """Return each token's terms of the sums: a row of words, with two bytes for every head."""
    golden = RecurrentModel(model)
    tokens, heads = golden.config.vocabulary, golden.config.heads
    rows = np.zeros((tokens, machine.row_words, heads), "<u2")
    rows[:, :tokens] = golden.table.transpose(2, 1, 0)
    values = np.zeros((tokens, heads, TABLE_BYTES * machine.value_words), np.int8)
    values[:, :, : golden.config.head_width] = golden.values.swapaxes(0, 1)
    rows[:, -machine.value_words :] = values.view("<u2").swapaxes(1, 2)
    return rows.tobytes()


def _bytes(values: NDArray[np.int64]) -> bytes:
    return values.astype(np.int8).tobytes()
