"""Sequences cut into segments of work, and segments into blocks of memory."""

from typing import NamedTuple

import numpy as np

from skvae.blocks import Workers

_BLOCK_NUMBERS = 1 << 16  # of one array of a block: measured, they should stay in the caches
_SHORTEST, _LONGEST = 512, 4096
# With fewer states the calls for a block cost more than its rows: twice as fast (measured for one
# to three states, 50,000 rows).
_FEW_STATES, _LONGEST_OF_FEW = 8, 16384
# Rows times states, with the other work of a row in units of a state, below which handing work to
# threads takes longer than doing it (measured: about two milliseconds of work).
_OTHER_WORK, _WORTH_THREADS = 8, 100_000
# Rows times at most eight states up to which one thread with one block takes less time than threads
# with blocks: the arrays stay in the caches (measured for Gaussian states).
_ONE_BLOCK_NUMBERS = 160_000
_LARGE_SHARE = 8  # a sequence of more than 1/8 of all rows is processed from both ends


class Segment(NamedTuple):
    """A run of rows that one thread processes: some whole sequences, or one half of a long one.

    Parameters
    ----------
    start, stop : int
        Its rows.
    reverse : bool
        Whether it is processed from its last row to its first.
    """

    start: int
    stop: int
    reverse: bool = False

    def first(self, offsets, start, stop):
        """Return which rows of a block are the first of a sequence, in the order of processing."""
        first = np.zeros(stop - start, dtype=bool)
        if self.reverse:
            first[0] = stop == self.stop
        else:
            i, j = np.searchsorted(offsets, (start, stop))
            first[offsets[i:j] - start] = True
        return first


def segments_of(offsets, block, *, halve=True):
    """Return (segments, halves): runs of whole sequences, and pairs of halves of long sequences.

    Short sequences are joined up to a block, so that their blocks are computed once. The cut
    depends on the sequences alone, so that the number of threads does not change the result.

    Parameters
    ----------
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].
    block : int
        The most rows of a block.
    halve : bool
        Whether long sequences are halved.
    """
    lengths = np.diff(offsets)
    long = (lengths > 2 * block) & (lengths * _LARGE_SHARE > offsets[-1]) & halve
    segments, halves, s = [], [], 0
    while s < len(lengths):
        start = int(offsets[s])
        # As many sequences as fit a block, at least one; a long one does not fit with others.
        end = max(s + 1, int(np.searchsorted(offsets, start + block, side="right")) - 1)
        stop = int(offsets[end])
        if long[s]:
            middle = start + (stop - start) // 2
            halves.append((Segment(start, middle), Segment(middle, stop, reverse=True)))
        else:
            segments.append(Segment(start, stop))
        s = end
    return segments, halves


def are_few(n_rows, n_states, *, quick=False):
    """Return whether rows are so few that one thread computes all of them as one block.

    With ``quick``, their log-densities take no more time than the recursions.
    """
    if quick and n_states <= _FEW_STATES:
        return n_rows * n_states <= _ONE_BLOCK_NUMBERS
    return n_rows * (n_states + _OTHER_WORK) < _WORTH_THREADS


def block_and_workers(n_rows, n_states, largest, pool):
    """Return the number of rows of a block, and the threads: one where work is little.

    Parameters
    ----------
    n_rows, n_states : int
        The size of the problem; states with the padding.
    largest : int
        The most rows that the source of log-likelihoods gives at a time.
    pool : Workers or None
        The threads; None is the calling thread alone.
    """
    few = are_few(n_rows, n_states)
    longest = _LONGEST if n_states >= _FEW_STATES else _LONGEST_OF_FEW
    rows = min(max(_BLOCK_NUMBERS // n_states, _SHORTEST), longest)
    if few:
        rows = 2 * _LONGEST
    elif n_rows < 8 * rows:  # as much for one thread as for another
        rows = -(-n_rows // (2 * -(-n_rows // (2 * rows))))
    return min(rows, largest), Workers(1) if few or pool is None else pool
