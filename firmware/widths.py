"""Bits of numbers and words of memories that hold a given largest one."""

from math import ceil


def bits_of(largest: int) -> int:
    """Return the bits of an unsigned number up to `largest`, at least one."""
    return max(1, largest.bit_length())


def signed_bits(magnitude: int) -> int:
    """Return the bits of a signed number that reaches `magnitude`, less one below zero."""
    return magnitude.bit_length() + 1


def depth(least: int) -> int:
    """Return a memory's depth: a power of two within a block RAM, then multiples of 256."""
    return power_of_two(least) if least <= 512 else ceil(least / 256) * 256


def power_of_two(least: int) -> int:
    """Return the smallest power of two from 2 on that is no less."""
    return max(2, 1 << (least - 1).bit_length())
