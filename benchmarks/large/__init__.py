"""Rows in a file that is mapped into memory: how fast, in how much memory, how large a file."""

from benchmarks.large import limit, passes

SECTIONS = (passes.SECTION, limit.SECTION)
