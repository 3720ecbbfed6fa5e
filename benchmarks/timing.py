"""Times that can be compared: interleaved rounds, medians with their spread, paired ratios.

If two programs are timed one after the other, changes of the machine in between bias the ratio.
Here every round times every contender once, in an order that turns round from one round to the
next, and a ratio is taken within each round before the median over rounds.
"""

import gc
import math
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

# Seconds of rest before each measurement: some machines are slowed down after a stretch of work.
rest = 0.0

# Of interleaved calls: the rounds, and the shortest time of one's calls in a round, in seconds.
FEWEST_ROUNDS, MOST_ROUNDS, SHORTEST = 3, 15, 0.002


@dataclass(frozen=True)
class Spread:
    """Repeats of one measurement, in the order of the rounds.

    Examples
    --------
    >>> slow, fast = Spread((2.0, 3.0, 2.2)), Spread((1.0, 1.0, 2.0))
    >>> slow.median, slow.low, slow.high
    (2.2, 2.0, 3.0)
    >>> slow.over(fast).median
    2.0
    """

    values: tuple[float, ...]

    @property
    def median(self):
        """Median over rounds."""
        return median(self.values)

    @property
    def low(self):
        """Smallest over rounds."""
        return min(self.values)

    @property
    def high(self):
        """Largest over rounds."""
        return max(self.values)

    def less(self, other):
        """Return the Spread of the differences to `other`, each taken within its round."""
        return Spread(tuple(a - b for a, b in zip(self.values, other.values, strict=True)))

    def over(self, other):
        """Return the Spread of the ratios to `other`, each taken within its round."""
        return Spread(tuple(a / b for a, b in zip(self.values, other.values, strict=True)))


def seconds(action, clock=time.perf_counter):
    """Return (seconds of ``action()``, its result); of wall-clock time, or by another clock."""
    gc.collect()
    begin = clock()
    result = action()
    return clock() - begin, result


def median_seconds(action, *, at_least):
    """Return the median time of ``action()`` over as many calls as take `at_least` seconds."""
    times = []
    while not times or sum(times) < at_least:
        times.append(seconds(action)[0])
    return median(times)


def seconds_per_iteration(fit, *, first, last, at_least, clock=time.perf_counter):
    """Return seconds per iteration: (time of `last` iterations - time of `first`) / difference.

    The work that a fit does once (validation, centring, the start, a closing E step) is in both
    times and cancels; every iteration that is counted is the same iteration for every contender.

    Parameters
    ----------
    fit : callable
        ``fit(n)`` fits from the one start with exactly ``n`` iterations.
    first, last : int
        Numbers of iterations, `first` < `last`.
    at_least : float
        The pair is repeated, and the median taken, until this many seconds have been measured, so
        that a fit of a few milliseconds has several samples.
    clock : callable
        Returns seconds.
    """
    differences, measured = [], 0.0
    while not differences or measured < at_least:
        short, _ = seconds(lambda: fit(first), clock)
        long, _ = seconds(lambda: fit(last), clock)
        differences.append((long - short) / (last - first))
        measured += short + long
    return median(differences)


def interleave(measures, rounds, *, may_fail=()):
    """Return a Spread for each measure, every round calling each of them once.

    An exception of a measure in `may_fail` is printed on standard error, and the measure is
    omitted.

    Parameters
    ----------
    measures : mapping from str to callable
        ``measure()`` returns a float.
    rounds : int
        Every second round goes through the measures backwards.
    may_fail : collection of str
        Names of measures that may fail without stopping the others.

    Examples
    --------
    >>> interleave({"a": lambda: 1.0, "b": lambda: 2.0}, rounds=2)
    {'a': Spread(values=(1.0, 1.0)), 'b': Spread(values=(2.0, 2.0))}
    """
    values = {name: [] for name in measures}
    with little_garbage():
        for i in range(rounds):
            for name in list(values)[:: -1 if i % 2 else 1]:
                time.sleep(rest)
                try:
                    values[name].append(measures[name]())
                except Exception as error:
                    if name not in may_fail:
                        raise
                    print(f"{name} fails: {type(error).__name__}: {error}", file=sys.stderr)
                    del values[name]
    return {name: Spread(tuple(v)) for name, v in values.items()}


def interleave_calls(actions, *, at_least, clock=time.process_time):
    """Return (Spread of seconds per call of each action, the result of its last call).

    Fast actions are called several times in a round, and in more rounds. Slow actions have three
    rounds, of which the first is not preceded by a warm-up.

    Parameters
    ----------
    actions : mapping from str to callable
        Every second round goes through the actions backwards.
    at_least : float
        Seconds of all rounds together, up to MOST_ROUNDS of them.
    clock : callable
        Returns seconds.

    Examples
    --------
    >>> ticks = iter(range(100))
    >>> times, results = interleave_calls({"a": lambda: "done"}, at_least=5, clock=ticks.__next__)
    >>> times["a"].values, results
    ((1.0, 1.0, 1.0, 1.0, 1.0), {'a': 'done'})
    """
    first, results = {}, {}
    for name, action in actions.items():
        first[name], results[name] = _per_call(action, 1, clock)
    slow = sum(first.values()) > at_least
    values = {name: [seconds] if slow else [] for name, seconds in first.items()}
    n_rounds = FEWEST_ROUNDS - slow
    n_calls = dict.fromkeys(actions, 1)
    if not slow:
        again = {name: _per_call(action, 1, clock)[0] for name, action in actions.items()}
        n_calls = {name: math.ceil(SHORTEST / max(s, SHORTEST / 100)) for name, s in again.items()}
        total = sum(n_calls[name] * s for name, s in again.items())
        n_rounds = min(MOST_ROUNDS, max(FEWEST_ROUNDS, int(at_least / total)))
    for i in range(n_rounds):
        for name in list(actions)[:: -1 if i % 2 else 1]:
            seconds_per_call, results[name] = _per_call(actions[name], n_calls[name], clock)
            values[name].append(seconds_per_call)
    return {name: Spread(tuple(v)) for name, v in values.items()}, results


def _per_call(action, n_calls, clock):
    begin = clock()
    for _ in range(n_calls):
        result = action()
    return (clock() - begin) / n_calls, result


@contextmanager
def little_garbage():
    """Exclude the objects of imported libraries from collections: each takes a tenth of a second.

    `seconds` collects before it measures, which is most of the time of measuring milliseconds.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
