"""Exact inference on a discrete chain: pure functions of arrays, in ``algorithms.py``."""
