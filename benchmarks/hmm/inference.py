"""Seconds of a Viterbi path, of a score and of posteriors, at known parameters."""

import functools

import numpy as np

from benchmarks import report
from benchmarks.hmm.contenders import HMMLEARN, LOG, SCALING, SKVAE
from benchmarks.hmm.problem import Problem
from benchmarks.suite import Section
from benchmarks.timing import interleave, median_seconds

VERBS = ("predict", "score", "predict_proba")

CASES = {
    "diag-500000-4-8-one": Problem(500_000, 4, 8, target=3),
    "diag-500000-4-8-many": Problem(500_000, 4, 8, n_sequences=5000, target=3),
    "diag-100000-8-32": Problem(100_000, 8, 32, n_sequences=10, target=3),
}


def measure(problem, settings):
    """Return a row for every verb, judged against the faster of hmmlearn's implementations."""
    problem = problem.sized(settings)
    X, truth = problem.make(settings.seed), problem.truth(settings.seed)
    return [_row(verb, problem, X, truth, settings) for verb in VERBS]


def _row(verb, problem, X, truth, settings):
    answers, measures = {}, {}
    for name, one in {"skvae": SKVAE, **HMMLEARN}.items():
        ask = functools.partial(getattr(one, verb), one.known(truth), one.load(X, problem))
        answers[name] = ask()
        at_least = 0.02 if settings.quick else 0.5
        measures[name] = functools.partial(median_seconds, ask, at_least=at_least)
    times = interleave(measures, settings.rounds)
    ratios = {name: times[name].over(times["skvae"]) for name in HMMLEARN}
    row = [verb, problem.sizes, f"{problem.n_sequences:,}"]
    row += [report.duration(times[name]) for name in answers]
    row += [report.ratio(ratios[name]) for name in HMMLEARN]
    least = min(spread.median for spread in ratios.values())
    row.append(report.verdict(least, problem.target, sign="≥", unit="×"))
    apart = max(np.abs(answers[name] - answers["skvae"]).max() for name in HMMLEARN)
    return [*row, f"{apart:.0e}"]


SECTION = Section(
    name="hmm-inference",
    title="Hidden Markov models: paths, scores, posteriors",
    method=(
        "Diagonal covariances, float64, at the parameters the data were drawn from. Seconds of a "
        "whole call; several calls in each round. Target: ratio to the faster of hmmlearn's "
        "implementations. Last column: largest difference of the answers (paths: of states)."
    ),
    columns=[
        "call",
        "T, D, K",
        "sequences",
        "skvae",
        SCALING,
        LOG,
        "scaling / skvae",
        "log / skvae",
        "target",
        "difference",
    ],
    cases=CASES,
    measure=measure,
)
