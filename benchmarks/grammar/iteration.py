"""Seconds per EM iteration from the same start, against inside–outside in torch."""

import functools
import time

import numpy as np

from benchmarks import report
from benchmarks.grammar.contenders import LEAN, PEERS, SENTCFG, SKVAE, one_thread
from benchmarks.grammar.problem import Problem
from benchmarks.suite import Section
from benchmarks.timing import interleave, seconds_per_iteration

FIRST, LAST = 1, 3
# Of log-likelihoods, relative, and of probabilities: contenders of one table compute the same.
AGREE = 1e-8
_MOST_SCORES = 300e6  # of rules in spans, that the program in log space keeps several times

_SIZES = [(5, 12, 200), (10, 20, 100), (20, 40, 20)]
_MORE = [(2, 10, 500), (3, 10, 300), (5, 30, 50), (10, 40, 20), (20, 15, 50), (40, 20, 10)]
_MORE += [(10, 80, 5), (5, 200, 2), (10, 20, 1)]
CASES = {
    "-".join(map(str, sizes)): Problem(*sizes, target=20, lean_target=7) for sizes in _SIZES
} | {"-".join(map(str, sizes)): Problem(*sizes) for sizes in _MORE}


def measure(problem, settings):
    """Return the row of one problem: times, ratios to the peers, and that the results agree."""
    problem = problem.sized(settings)
    entrants = {"skvae": SKVAE, **PEERS}
    if _scores(problem) > _MOST_SCORES:
        del entrants[SENTCFG]
    times, fitted = iteration_times(entrants, problem, settings)
    apart = differences(fitted)
    row = [problem.sizes, *(_text(times, name, report.duration) for name in ("skvae", *PEERS))]
    ratios = {name: times[name].over(times["skvae"]) for name in PEERS if name in times}
    row += [_text(ratios, name, report.ratio) for name in PEERS]
    for name, target in ((SENTCFG, problem.target), (LEAN, problem.lean_target)):
        value = ratios[name].median if name in ratios else 0.0
        row.append(report.verdict(value, target, sign="≥", unit="×"))
    return [[*row, f"{apart:.0e}"]]


def _text(values, name, text):
    return text(values[name]) if name in values else report.NOT_APPLICABLE


def _scores(problem):
    n, k = problem.length, problem.n_components
    return problem.n_sentences * n * n / 2 * k**3


def iteration_times(entrants, problem, settings):
    """Return (Spread of seconds per iteration, Fitted after LAST iterations), both by name."""
    X, start, fitted = problem.make(settings.seed), problem.start(settings.seed), {}

    def fit(n_iterations, name, one, data):
        fitted[name] = one.fit(data, start, n_iterations)

    with one_thread():
        measures, warm_ups = {}, {}
        for name, one in entrants.items():
            run = functools.partial(fit, name=name, one=one, data=one.load(X))
            measures[name] = functools.partial(
                seconds_per_iteration,
                run,
                first=FIRST,
                last=LAST,
                at_least=0.02 if settings.quick else 0.5,
                clock=time.process_time,
            )
            warm_ups[name] = functools.partial(run, FIRST)
        interleave(warm_ups, 1)  # compilation, page faults and lazy imports
        return interleave(measures, settings.rounds), fitted


def differences(fitted):
    """Return the largest difference of the peers' log-likelihoods and rules to skvae's.

    Raises
    ------
    RuntimeError
        If it is above AGREE: the times would be those of different computations.
    """
    ours, largest = fitted["skvae"], 0.0
    for name, theirs in fitted.items():
        likelihood = abs(theirs.log_likelihood / ours.log_likelihood - 1)
        apart = max(likelihood, np.abs(theirs.rules - ours.rules).max())
        if not apart <= AGREE:
            raise RuntimeError(
                f"{name} comes to {theirs.log_likelihood} nats, skvae to {ours.log_likelihood}; "
                f"probabilities of rules differ by {np.abs(theirs.rules - ours.rules).max()}."
            )
        largest = max(largest, apart)
    return largest


SECTION = Section(
    name="grammar-iteration",
    title="Context-free grammars: seconds per EM iteration",
    method=(
        "Random sentences of one length over 20 words, all K³ rules, the same random start for "
        f"all, float64, one thread, processor time. Time of {LAST} iterations less time of {FIRST}"
        f", divided by {LAST - FIRST}. Median over interleaved rounds (smallest–largest); ratios "
        "are taken within a round. Both peers are written in torch for this comparison and compute "
        "all sentences and all splits of a width in one operation. In log space: as Torch-Struct's "
        "SentCFG, with the counts by automatic differentiation, whose graph can itself be "
        "differentiated; left out if it would keep more than "
        f"{_MOST_SCORES / 1e6:.0f} million scores of rules in spans. Lean: probabilities with one "
        "scale for each sentence and width, splits summed by matrix products before a rule is "
        "used, and the outside pass written by hand. Targets: ratios to both. Last column: largest "
        "relative difference of the log-likelihood before the last M step, and of a rule's "
        f"probability after {LAST} iterations; above {AGREE:g} the case fails."
    ),
    columns=[
        "K, words, sentences",
        "skvae",
        SENTCFG,
        LEAN,
        "log space / skvae",
        "lean / skvae",
        "target, log space",
        "target, lean",
        "difference",
    ],
    cases=CASES,
    measure=measure,
)
