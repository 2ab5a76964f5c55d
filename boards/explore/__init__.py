"""Sweeps over designs that can be built: the points, the workers that compute them, the results."""
