"""Sweeps over what can be built: which points there are, who computes them, what is kept."""
