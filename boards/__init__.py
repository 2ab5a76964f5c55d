"""Putting the hardware on a board."""
