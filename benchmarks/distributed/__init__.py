"""Dask on this machine: two processes against one, the overhead, and a model of more workers."""

from benchmarks.distributed import cost, model, workers

SECTIONS = (workers.SECTION, cost.SECTION, model.SECTION)
