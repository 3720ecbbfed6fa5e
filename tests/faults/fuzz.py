"""Many cases of hostile input: ``python -m tests.faults.fuzz --cases 100000 --seed 0``.

Prints how many cases of each estimator ended how, and each kind of failure once, as the simplest
case found, to be pasted into a test or ``--case "Case('EMGaussianMixture', ...)"``. The exit status
is that of a test: 1 where something failed. Should the process die, the first line of the
file ``--log`` is the case that killed it.
"""

# ruff: noqa: T201
import argparse
import contextlib
import faulthandler
import os
import re
import sys
import tempfile
import time
from collections import Counter

import torch
from hypothesis import HealthCheck, Phase, given, seed, settings

from skvae.blocks import workers
from tests.faults.cases import ESTIMATORS, NET, Case, cases
from tests.faults.checks import run
from tests.faults.rows import Recipe

_CHUNK = 500  # cases that hypothesis keeps apart from each other
_SHARE = {NET: 0.2}  # of all cases: one of these takes as long as several of the others


def outcome_of(case):
    """("result" and the like, None), or ("fault", its text)."""
    try:
        return run(case), None
    except Exception as fault:  # also what the checks themselves trip over
        return "fault", f"{type(fault).__name__}: {fault}"


def kind_of(case, text):
    """What failures with one cause have in common: no numbers, no values."""
    words = re.sub(r"array\(.*|\[.*|'[^']*'", "", text, flags=re.DOTALL)
    where = re.findall(r"\w+\.py:\d+", text)
    return case.estimator, where[-1] if where else re.sub(r"[-+\d.e]+", "#", words)[:80]


def simplest(case, kind):
    """A case that fails in the same way and cannot be made simpler by one step."""
    while True:
        for other in case.simpler():
            ending, text = outcome_of(other)
            if ending == "fault" and kind_of(other, text) == kind:
                case = other
                break
        else:
            return case


def sweep(name, n_cases, first_seed, on_case):
    """Draw cases of an estimator and hand each to ``on_case``, which must not raise."""
    draws = cases(name)
    for chunk in range(0, n_cases, _CHUNK):

        @seed(hash((first_seed, ESTIMATORS.index(name), chunk)))
        @settings(
            max_examples=min(_CHUNK, n_cases - chunk),
            deadline=None,
            derandomize=False,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(draws)
        def draw(case):
            on_case(case)

        draw()


class Tally:
    """Counts endings and keeps the first failure of each kind."""

    def __init__(self, log):
        self.endings, self.failures = Counter(), {}
        self._log = log

    def __call__(self, case):
        """Run a case and take note of how it ended."""
        self._log.seek(0)
        self._log.write(f"{case!r}\n{' ' * 2000}")  # over what is left of a longer one
        self._log.flush()
        ending, text = outcome_of(case)
        self.endings[case.estimator, ending] += 1
        if ending == "fault":
            kind = kind_of(case, text)
            n, *first = self.failures.get(kind, (0, case, text))
            self.failures[kind] = (n + 1, *first)


def report(tally, started):
    """Print the counts and the failures; return their number."""
    endings = sorted({ending for _, ending in tally.endings})
    print(f"{'':24}" + "".join(f"{ending:>12}" for ending in endings))
    for name in ESTIMATORS:
        counts = [tally.endings[name, ending] for ending in endings]
        print(f"{name:24}" + "".join(f"{count:12}" for count in counts))
    print(f"{tally.endings.total()} cases in {time.perf_counter() - started:.0f} s")
    for kind, (n, case, text) in tally.failures.items():
        small = simplest(case, kind)
        _, said = outcome_of(small)
        print(f"\n{n} times: {(said or text)[:600]}\n    {small!r}", flush=True)
    return len(tally.failures)


def main(arguments):
    """Run as many cases as asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=ESTIMATORS, action="append")
    parser.add_argument("--case", help="run this one alone")
    parser.add_argument("--log", default=os.devnull, help="the case that is being run")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    faulthandler.enable()
    names = options.only or ESTIMATORS
    shares = {name: _SHARE.get(name, 1.0) for name in names}
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(open(options.log, "w"))
        # A word as ``checkpoint`` is a file in the folder that is worked in.
        stack.enter_context(contextlib.chdir(stack.enter_context(tempfile.TemporaryDirectory())))
        if options.case:
            print(run(eval(options.case, {"Case": Case, "Recipe": Recipe})))
            return 0
        # One thread then keeps BLAS to one for all cases, and they need none of their own for it.
        stack.enter_context(workers())
        tally, started = Tally(log), time.perf_counter()
        for name in names:
            n_cases = round(options.cases * shares[name] / sum(shares.values()))
            sweep(name, n_cases, options.seed, tally)
            print(f"{name}: {n_cases} cases, {time.perf_counter() - started:.0f} s", flush=True)
        return 1 if report(tally, started) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
