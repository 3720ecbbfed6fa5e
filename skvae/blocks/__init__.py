"""Rows as blocks, and sums of statistics over blocks.

Everything a model learns from its data is a sum over rows. In memory the rows are cut into blocks
that fit the cache, blocks are strung into chunks, and chunks go to threads. The cuts depend on the
number of rows alone and the chunks' results are added in order, so the answer does not depend on
how many threads there are. Inside a chunk the linear algebra is single-threaded: with small
matrices one thread per chunk beats many threads per product.

Rows of a Dask array go the same way where they are: a task for each of its chunks, which sees no
more of the data than that, and a tree that adds what the tasks found.
"""

from skvae.blocks.dask_rows import (
    DistributedRows,
    DistributedWeights,
    checked_rows,
    checked_weights,
    with_known_size,
)
from skvae.blocks.dask_tasks import (
    boxed,
    by_chunks,
    collected,
    is_distributed,
    map_rows,
    mapped,
    sent,
    summed,
    unboxed,
)
from skvae.blocks.rows import (
    Rows,
    block_rows,
    even_block,
    is_complete,
    missing_patterns,
    pattern_order,
    ranges,
)
from skvae.blocks.workers import N_CHUNKS, Workers, workers

__all__ = [
    "N_CHUNKS",
    "DistributedRows",
    "DistributedWeights",
    "Rows",
    "Workers",
    "block_rows",
    "boxed",
    "by_chunks",
    "checked_rows",
    "checked_weights",
    "collected",
    "even_block",
    "is_complete",
    "is_distributed",
    "map_rows",
    "mapped",
    "missing_patterns",
    "pattern_order",
    "ranges",
    "sent",
    "summed",
    "unboxed",
    "with_known_size",
    "workers",
]
