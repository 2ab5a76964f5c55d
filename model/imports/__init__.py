"""Checkpoints made by other programs: one module per source, and :mod:`.recognise` tells which."""
