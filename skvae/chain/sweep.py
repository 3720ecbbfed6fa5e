"""Forward and backward over all sequences, in threads: who walks what, and what it adds up to."""

import numpy as np

from skvae.chain.kernels_scaled import LARGEST_MARKS
from skvae.chain.passes import BUDGET, Memory, Pass, Underflow, Unit
from skvae.chain.recursion import recursion_of

_LARGE_SHARE = 8  # a sequence of more than 1/8 of all rows is walked from both ends
_LEAST_JOINT = 1e-100  # of two halves' messages; below it too much was lost


class Sequences:
    """Where sequences begin and end among rows.

    Parameters
    ----------
    offsets : ndarray of int, shape (n_sequences + 1,)
        Sequence s has the rows from offsets[s] to offsets[s + 1].

    Attributes
    ----------
    first : ndarray of bool, shape (n_rows,)
        Whether a row begins a sequence.
    """

    def __init__(self, offsets):
        self.offsets = offsets
        self.first = np.zeros(offsets[-1], dtype=bool)
        self.first[offsets[:-1]] = True
        self._units = {}
        self.memory = Memory()  # of the passes over them

    @property
    def n_rows(self):
        """Return the number of rows of all sequences."""
        return len(self.first)

    def units(self, block, *, halve=True):
        """Return (units, halves): runs of whole sequences, and pairs of halves of long ones.

        Short sequences are taken together up to a block, so that none of their rows is walked
        twice. What is cut depends on the sequences alone, so that threads do not change the answer.
        """
        if (block, halve) not in self._units:  # the same in every iteration
            self._units[block, halve] = self._cut(block, halve)
        return self._units[block, halve]

    def _cut(self, block, halve):
        units, halves = [], []
        lengths = np.diff(self.offsets)
        long = (lengths > 2 * block) & (lengths * _LARGE_SHARE > self.offsets[-1]) & halve
        begin = 0
        for s, length in enumerate(lengths):
            start, stop = self.offsets[s], self.offsets[s + 1]
            if long[s] or stop - begin > block:
                if begin < start:
                    units.append(Unit(begin, start))
                begin = start
            if long[s]:
                middle = start + length // 2
                halves.append((Unit(start, middle), Unit(middle, stop, reverse=True)))
                begin = stop
        if begin < self.offsets[-1]:
            units.append(Unit(begin, self.offsets[-1]))
        return units, halves


class ChainSums:
    """What a backward pass adds up: expected starts, pairs, the log-likelihood, and findings.

    Parameters
    ----------
    starts : ndarray of shape (K,)
        Expected number of sequences that begin in each state.
    pairs : ndarray of shape (K, K)
        Expected number of transitions.
    log_likelihood : float
        Weighted, in nats.
    found : object or None
        What the visitor collects; it adds in place.
    """

    __slots__ = ("found", "log_likelihood", "pairs", "starts")

    def __init__(self, n_states, found):
        self.starts = np.zeros(n_states)
        self.pairs = np.zeros((n_states, n_states))
        self.log_likelihood = 0.0
        self.found = found

    def __iadd__(self, other):
        self.starts += other.starts
        self.pairs += other.pairs
        self.log_likelihood += other.log_likelihood
        if self.found is not None:
            self.found += other.found
        return self


class Sweep:
    """A pass over all sequences under one chain.

    Parameters
    ----------
    start : ndarray of shape (K,)
        Start probabilities.
    transmat : ndarray of shape (K, K)
        Transition probabilities.
    sequences : Sequences
        The sequences.
    source : callable
        ``source()`` gives what a thread reads log-likelihoods from; see :class:`Pass`.
    block : int
        The most rows of a block.
    weight : ndarray of shape (n_rows,) or None
        What each row counts, constant within a sequence.
    """

    def __init__(self, start, transmat, sequences, source, block, weight=None):
        self._forwards = recursion_of(start, transmat)
        self._sequences = sequences
        self._source = source
        self._block = block
        self._weight = weight
        self.units, self.halves = sequences.units(block)

    def _pass(self, unit, recursion, source):
        sequences = self._sequences
        return Pass(unit, recursion, source, sequences.first, self._block, sequences.memory)

    def filter(self, pool, visit, *, logs=False):
        """Walk forward; call ``visit(start, stop, log_p, alpha)`` for each block; see Pass.

        With ``logs``, ``alpha`` are log-probabilities of which none has underflowed.
        """
        units = self._sequences.units(self._block, halve=False)[0]

        def walk(begin, end):
            source = self._source()
            for unit in units[begin:end]:
                try:
                    if logs and self._forwards.guard:
                        raise Underflow
                    self._pass(unit, self._forwards, source).forward(visit, keep=0, logs=logs)
                except Underflow:
                    recursion = self._forwards.in_log_space()
                    self._pass(unit, recursion, source).forward(visit, keep=0, logs=logs)

        for _ in pool.map(walk, len(units), 1):
            pass

    def smooth(self, pool, visit, collect=lambda: None):
        """Return the ChainSums of all sequences.

        Parameters
        ----------
        pool : Workers
            The threads.
        visit : callable
            ``visit(found, source, start, stop, gamma)`` for each block; ``gamma`` (n, K) are
            posteriors times weights, good until it returns.
        collect : callable
            ``collect()`` gives an empty ``found``.
        """
        total = ChainSums(self._forwards.n_states, collect())
        if self.halves:
            for sums in self._smooth_halves(pool, visit, collect):
                total += sums

        def walk(begin, end):
            source = self._source()
            sums = ChainSums(self._forwards.n_states, collect())
            for unit in self.units[begin:end]:
                sums += self._smooth_unit(unit, source, visit, collect)
            return sums

        for sums in pool.map(walk, len(self.units), 1) if self.units else ():
            total += sums
        return total

    def log_likelihood(self, pool):
        """Return the weighted log-likelihood of all sequences, in nats."""
        total = 0.0
        if self.halves:
            there = self._there(pool, lambda: None, keep=0)
            for i, (head, _) in enumerate(self.halves):
                meeting = self._meet(*there[2 * i : 2 * i + 2])
                if meeting is None:
                    return self.smooth(pool, lambda *_: None).log_likelihood
                total += there[2 * i][1].log_likelihood + there[2 * i + 1][1].log_likelihood
                total += self._weight_at(head.stop) * meeting[2][0]

        def walk(begin, end):
            source, part = self._source(), 0.0
            for unit in self.units[begin:end]:
                try:
                    sums = self._forward(unit, self._forwards, source, lambda: None, 0)[1]
                except Underflow:
                    recursion = self._forwards.in_log_space()
                    sums = self._forward(unit, recursion, source, lambda: None, 0)[1]
                part += sums.log_likelihood
            return part

        return total + sum(pool.map(walk, len(self.units), 1) if self.units else ())

    def _smooth_unit(self, unit, source, visit, collect):
        """Return the sums of one unit of whole sequences, in log space where that is needed."""
        try:
            return self._attempt(unit, self._forwards, source, visit, collect)
        except Underflow:
            recursion = self._forwards.in_log_space()
            return self._attempt(unit, recursion, source, visit, collect)

    def _attempt(self, unit, recursion, source, visit, collect):
        run, sums = self._forward(unit, recursion, source, collect)
        sums.pairs += self._backward(run, sums, source, visit)
        return sums

    def _forward(self, unit, recursion, source, collect, keep=BUDGET):
        run = self._pass(unit, recursion, source)
        sums = ChainSums(recursion.n_states, collect())

        def add(start, stop, log_p, _alpha):
            weight = self._weight
            sums.log_likelihood += log_p.sum() if weight is None else log_p @ weight[start:stop]

        run.forward(add, keep=keep)
        return run, sums

    def _backward(self, run, sums, source, visit, beta=None):
        """Walk back, add to the sums what the visitor finds; return the sums over pairs."""

        def see(start, stop, gamma):
            begins = np.flatnonzero(self._sequences.first[start:stop])
            if len(begins):
                sums.starts += gamma[begins].sum(axis=0)
            visit(sums.found, source, start, stop, gamma)

        return run.backward(see, beta, self._weight)

    def _there(self, pool, collect, keep):
        """Return (pass, sums, source) of each half after its forward pass; None: it underflowed."""
        forwards = self._forwards
        backwards = recursion_of(np.ones(forwards.n_states), forwards.transmat.T.copy())
        both = [half for pair in self.halves for half in pair]

        def go(begin, end):
            out = []
            for half in both[begin:end]:
                source = self._source()
                try:
                    recursion = backwards if half.reverse else forwards
                    run, sums = self._forward(half, recursion, source, collect, keep)
                    out.append((run, sums, source))
                except Underflow:
                    out.append(None)
            return out

        return [result for results in pool.map(go, len(both), 1) for result in results]

    def _smooth_halves(self, pool, visit, collect):
        """Yield the sums of the long sequences, each walked from both ends at once."""
        # All halves are under way at once.
        there = self._there(pool, collect, BUDGET // len(self.halves))
        meetings = [self._meet(*there[i : i + 2]) for i in range(0, len(there), 2)]

        def back(begin, end):
            out = []
            for i in range(begin, end):
                meeting = meetings[i // 2]
                out.append(meeting and self._back(there[i], visit, meeting[i % 2]))
            return out

        halves = [sums for results in pool.map(back, len(there), 1) for sums in results]
        for i, (pair, meeting) in enumerate(zip(self.halves, meetings, strict=True)):
            head, tail = halves[2 * i : 2 * i + 2]
            if meeting is None:
                whole = Unit(pair[0].start, pair[1].stop)
                recursion = self._forwards.in_log_space()
                yield self._attempt(whole, recursion, self._source(), visit, collect)
                continue
            weight = self._weight_at(pair[0].stop)
            log_joint, pairs = meeting[2]
            head += tail
            head.pairs += weight * pairs
            head.log_likelihood += weight * log_joint
            yield head

    def _back(self, half, visit, message):
        """Return the sums of a half after its backward pass from the other half's message."""
        run, sums, source = half
        pairs = self._backward(run, sums, source, visit, message)
        sums.pairs += pairs.T if run.unit.reverse else pairs
        return sums

    def _weight_at(self, row):
        return 1.0 if self._weight is None else float(self._weight[row])

    def _meet(self, head, tail):
        """Return the messages to both halves, and (log p, posterior pairs) of the middle.

        None where a half underflowed or they hardly have a state in common.
        """
        if head is None or tail is None:
            return None
        n, transmat = self._forwards.n_states, self._forwards.transmat
        alpha, psi = head[0].message[:n], tail[0].message[:n]
        pairs = alpha[:, None] * transmat * psi
        total = pairs.sum()
        stems = head[0].marks[0, :n] @ transmat @ psi + alpha @ transmat @ tail[0].marks[0, :n]
        if not (total >= _LEAST_JOINT and stems <= LARGEST_MARKS * total):
            return None
        messages = []
        for message in (transmat @ psi, alpha @ transmat):
            padded = self._forwards.ones()
            padded[:n] = message / total
            messages.append(padded)
        return *messages, (np.log(total), pairs / total)
