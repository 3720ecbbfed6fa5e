"""Dask on this machine: two processes against one, what distribution costs, a model of more."""

from benchmarks.distributed import cost, model, workers

SECTIONS = (workers.SECTION, cost.SECTION, model.SECTION)
