"""Rows as blocks, and sums of statistics over blocks.

All statistics that a model learns from are sums over rows. In memory the rows are cut into blocks
that fit the cache, consecutive blocks make a chunk, and each chunk is computed by one thread. The
cuts depend on the number of rows alone and the results of the chunks are added in order, so the
result does not depend on the number of threads. Inside a chunk the linear algebra is
single-threaded: for small matrices one thread for each chunk is faster than many threads for each
product.

The rows of a Dask array are processed in the same way by its workers: one task for each of the
array's chunks, which reads no other data, and a tree of tasks that adds the results.
"""

from skvae.blocks.dask_rows import (
    DistributedRows,
    DistributedWeights,
    checked_rows,
    checked_weights,
    whole_chunks,
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
from skvae.blocks.sequences import (
    Sequences,
    as_sequences,
    is_list_of_sequences,
    places_of,
    warn_of_lengths,
)
from skvae.blocks.workers import N_CHUNKS, Workers, workers, workers_for

__all__ = [
    "N_CHUNKS",
    "DistributedRows",
    "DistributedWeights",
    "Rows",
    "Sequences",
    "Workers",
    "as_sequences",
    "block_rows",
    "boxed",
    "by_chunks",
    "checked_rows",
    "checked_weights",
    "collected",
    "even_block",
    "is_complete",
    "is_distributed",
    "is_list_of_sequences",
    "map_rows",
    "mapped",
    "missing_patterns",
    "pattern_order",
    "places_of",
    "ranges",
    "sent",
    "summed",
    "unboxed",
    "warn_of_lengths",
    "whole_chunks",
    "with_known_size",
    "workers",
    "workers_for",
]
