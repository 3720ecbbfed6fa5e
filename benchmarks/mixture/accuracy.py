"""Errors against high-precision arithmetic, on data with cancellation in float64."""

from typing import NamedTuple

import mpmath
import numpy as np

from benchmarks import report
from benchmarks.mixture.contenders import contenders
from benchmarks.mixture.problem import Start
from benchmarks.mixture.referee import DIGITS, exact, exact_em_step, exact_log_densities
from benchmarks.suite import Section


class Case(NamedTuple):
    """Two clusters: for each feature the distance of their means, its spread and its offset."""

    words: str
    covariance_type: str
    distance: np.ndarray
    spread: np.ndarray
    offset: float = 0.0


_ORDINARY = ("ordinary: σ = 1, means 3 apart", 3.0 * np.ones(3), np.ones(3))
_FAR = ("σ = 1e-3, means 1e4 apart", 1e4 * np.ones(3), 1e-3 * np.ones(3))
_OFFSET = ("σ = 1, means 3 apart, all at 1e8", 3.0 * np.ones(3), np.ones(3), 1e8)
_UNITS = (
    "σ = 1e-6, 1, 1e6, means 3 σ apart",
    3 * np.array([1e-6, 1, 1e6]),
    np.array([1e-6, 1, 1e6]),
)

CASES = {
    f"{name}-{covariance_type}": Case(words[0], covariance_type, *words[1:])
    for name, words in {
        "ordinary": _ORDINARY,
        "far": _FAR,
        "offset": _OFFSET,
        "units": _UNITS,
    }.items()
    for covariance_type in ("full", "diag")
}


def measure(case, settings):
    """Return a row for every contender, also for one that fails."""
    X, start = _make(case, 60 if settings.quick else 300, settings.seed)
    dense = start.covariances
    if case.covariance_type == "diag":
        dense = dense[:, :, np.newaxis] * np.eye(X.shape[1])
    truth = exact_em_step(X, exact(start.weights, start.means, dense), case.covariance_type)
    rows = []
    for name, one in contenders(case.covariance_type).items():
        try:
            errors = _errors(one, X, start, truth)
        except Exception as error:  # A failure is a result here, shown in the table.
            errors = [f"{type(error).__name__}"] + [report.NOT_APPLICABLE] * 2
        rows.append([case.words, case.covariance_type, name, *errors])
    return rows


def _make(case, n_samples, seed):
    """Return rows of two equal clusters and a Start near the truth."""
    rng = np.random.default_rng(seed)
    d = len(case.spread)
    correlated = rng.normal(size=(n_samples, d)) @ (np.eye(d) + 0.3)
    labels = np.arange(n_samples) % 2
    X = case.offset + labels[:, np.newaxis] * case.distance + correlated * case.spread
    means = np.array([X[labels == k].mean(axis=0) + 0.1 * case.spread for k in range(2)])
    precision = 1 / (2 * case.spread**2)
    if case.covariance_type == "full":
        precision = np.diag(precision)
    return X, Start(case.covariance_type, np.full(2, 0.5), means, np.array([precision] * 2))


def _errors(one, X, start, truth):
    """Return the errors of means, covariances and log-densities after one EM iteration, as text."""
    model = one.fit(one.load(X), start, 1, reg_covar=0)
    found = one.parameters(model)
    sigmas = [[mpmath.sqrt(c[j, j]) for j in range(c.rows)] for c in truth.covariances]
    with mpmath.workdps(DIGITS):
        ours = exact(*found)
        mean_error = max(
            abs(mean[j] - true[j]) / sigma[j]
            for mean, true, sigma in zip(ours.means, truth.means, sigmas, strict=True)
            for j in range(X.shape[1])
        )
        covariance_error = max(
            abs(cov[i, j] - true[i, j]) / (sigma[i] * sigma[j])
            for cov, true, sigma in zip(ours.covariances, truth.covariances, sigmas, strict=True)
            for i in range(X.shape[1])
            for j in range(X.shape[1])
        )
        # At the contender's own parameters: the error of scoring alone, not that of the step.
        log_densities, _ = exact_log_densities(X, ours)
        scores = one.score_samples(model, X)
        score_error = max(
            abs(mpmath.mpf(float(score)) - true)
            for score, true in zip(scores, log_densities, strict=True)
        )
    return [f"{float(error):.0e}" for error in (mean_error, covariance_error, score_error)]


SECTION = Section(
    name="accuracy",
    title="Accuracy against high-precision arithmetic",
    method=(
        "float64, `reg_covar=0`, one EM iteration from the same start, against the same in "
        f"{DIGITS} decimal digits (mpmath). Largest error of a mean in standard deviations, of a "
        "covariance relative to the standard deviations' product, and of a row's log-density in "
        "nats at the contender's own parameters. Storing a mean in float64 alone costs up to 9e-10 "
        "σ at 1e4 with σ = 1e-3, and 7e-9 σ at 1e8 with σ = 1."
    ),
    columns=["data", "covariance", "contender", "means, σ", "covariances", "scores, nats"],
    cases=CASES,
    measure=measure,
)
