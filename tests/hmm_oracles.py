"""Reference computations for hidden Markov models: slow, obvious, and independent of skvae.

A chain is p(z, x) = π_{z_1} ∏_t A_{z_{t−1} z_t} ∏_t p(x_t | z_t). `enumerate_paths` writes out
every path; `forward_backward` is the textbook recursion in logs, for sequences too long for that,
in any precision; `log_likelihood_by_doubling` multiplies matrices in pairs, for a million rows.
`log_emission` reads a fitted emission's public attributes and asks scipy. `test_hmm_oracles.py`
checks these functions against each other and against closed forms.

Where a row is impossible given those before it, the log-likelihood is −inf and posteriors pass over
the row as over a missing one: that is the library's promise, and so it is the oracle's.
"""

from itertools import product
from typing import NamedTuple

import numpy as np
from scipy.special import logsumexp
from scipy.stats import (
    bernoulli,
    gamma,
    multinomial,
    multivariate_normal,
    multivariate_t,
    nbinom,
    poisson,
    vonmises,
)


class Posterior(NamedTuple):
    """What is known of the states of one sequence; names as in the library."""

    log_p: np.ndarray  # (T,) ln p(x_t | x_1..x_{t−1})
    filtered: np.ndarray  # (T, K)
    smoothed: np.ndarray  # (T, K)
    pairs: np.ndarray  # (K, K) summed over t

    @property
    def log_likelihood(self):
        return float(self.log_p.sum())


class Paths(NamedTuple):
    """Every path of one sequence with its ln p(path, x)."""

    paths: np.ndarray  # (K ** T, T)
    log_joint: np.ndarray  # (K ** T,)

    def best(self, k):
        """(log-probabilities, paths) of the k most probable possible paths, best first."""
        order = np.argsort(-self.log_joint, kind="stable")
        order = order[np.isfinite(self.log_joint[order])][:k]
        return self.log_joint[order], self.paths[order]

    def probabilities(self):
        return np.exp(self.log_joint - logsumexp(self.log_joint))

    def entropy(self):
        """The entropy of p(path | x), nats."""
        p = self.probabilities()
        return float(-(p[p > 0] * np.log(p[p > 0])).sum())


def _log(p):
    with np.errstate(divide="ignore"):
        return np.log(p)


def every_path(startprob, transmat, log_likelihood):
    """The Paths of one sequence: K ** T of them."""
    log_start, log_transmat = _log(np.asarray(startprob)), _log(np.asarray(transmat))
    n_rows, n_states = np.shape(log_likelihood)
    paths = np.array(list(product(range(n_states), repeat=n_rows)), dtype=np.int64)
    log_joint = log_start[paths[:, 0]].copy()
    for t in range(n_rows):
        if t:
            log_joint = log_joint + log_transmat[paths[:, t - 1], paths[:, t]]
        log_joint = log_joint + log_likelihood[t, paths[:, t]]
    return Paths(paths, log_joint)


def without_impossible_rows(startprob, transmat, log_likelihood):
    """(log-likelihoods in which impossible rows say nothing, which rows these are)."""
    passed = np.array(log_likelihood, dtype=float)
    impossible = np.zeros(len(passed), dtype=bool)
    reachable = np.asarray(startprob) > 0
    for t, row in enumerate(passed):
        possible = reachable & (row > -np.inf)
        if not possible.any():
            impossible[t], passed[t], possible = True, 0.0, reachable
        reachable = (np.asarray(transmat)[possible] > 0).any(axis=0)
    return passed, impossible


def enumerate_paths(startprob, transmat, log_likelihood):
    """The Posterior of one sequence by summing over every path."""
    n_rows, n_states = np.shape(log_likelihood)
    passed, impossible = without_impossible_rows(startprob, transmat, log_likelihood)
    whole = every_path(startprob, transmat, passed)
    weight = whole.probabilities()
    pairs = np.zeros((n_states, n_states))
    smoothed = np.zeros((n_rows, n_states))
    for t in range(n_rows):
        np.add.at(smoothed[t], whole.paths[:, t], weight)
        if t:
            np.add.at(pairs, (whole.paths[:, t - 1], whole.paths[:, t]), weight)
    filtered, prefix = np.zeros((n_rows, n_states)), np.zeros(n_rows + 1)
    for t in range(n_rows):
        some = every_path(startprob, transmat, passed[: t + 1])
        prefix[t + 1] = logsumexp(some.log_joint)
        np.add.at(filtered[t], some.paths[:, t], some.probabilities())
    return Posterior(np.where(impossible, -np.inf, np.diff(prefix)), filtered, smoothed, pairs)


def forward_backward(startprob, transmat, log_likelihood, dtype=np.float64):
    """The Posterior of one sequence by the recursions in logs, in the precision of `dtype`."""
    log_start, log_transmat = (_log(np.asarray(p, dtype=dtype)) for p in (startprob, transmat))
    passed, impossible = without_impossible_rows(startprob, transmat, log_likelihood)
    logs = passed.astype(dtype)
    n_rows, n_states = logs.shape
    alpha, beta = np.empty((2, n_rows, n_states), dtype=dtype)
    log_p = np.empty(n_rows, dtype=dtype)
    for t in range(n_rows):
        ahead = log_start if t == 0 else _logsumexp(alpha[t - 1][:, None] + log_transmat)
        alpha[t] = ahead + logs[t]
        log_p[t] = _logsumexp(alpha[t])
        alpha[t] -= log_p[t]
    beta[-1] = 0.0
    pairs = np.zeros((n_states, n_states), dtype=dtype)
    for t in range(n_rows - 2, -1, -1):
        ahead = log_transmat + (logs[t + 1] + beta[t + 1] - log_p[t + 1])
        pairs += np.exp(alpha[t][:, None] + ahead)
        beta[t] = _logsumexp(ahead.T)
    filtered, smoothed = np.exp(alpha), np.exp(alpha + beta)
    return Posterior(np.where(impossible, -np.inf, log_p), filtered, smoothed, pairs)


def _logsumexp(x):
    """ln Σ exp over the first axis, in the array's own precision."""
    top = np.max(x, axis=0)
    top = np.where(np.isfinite(top), top, 0)
    return _log(np.exp(x - top).sum(axis=0)) + top


def log_likelihood_by_doubling(startprob, transmat, log_likelihood):
    """ln p(x) of one sequence as a product of T matrices, multiplied in pairs, in long double."""
    log_likelihood = np.asarray(log_likelihood, dtype=np.longdouble)
    top = log_likelihood.max(axis=1)
    b = np.exp(log_likelihood - top[:, None])
    logs = top.sum()
    matrices = np.asarray(transmat, dtype=np.longdouble) * b[1:, None, :]
    while len(matrices) > 1:
        last = matrices[len(matrices) // 2 * 2 :]
        left, right = matrices[: len(matrices) // 2 * 2 : 2], matrices[1::2]
        matrices = np.zeros_like(left)
        for k in range(len(b[0])):  # matmul knows no long double
            matrices += left[:, :, k, None] * right[:, None, k, :]
        largest = matrices.max(axis=(1, 2))
        matrices /= largest[:, None, None]
        logs += np.log(largest).sum()
        matrices = np.concatenate([matrices, last])
    first = np.asarray(startprob, dtype=np.longdouble) * b[0]
    rest = matrices[0] if len(matrices) else np.eye(len(first))
    return logs + np.log((first[:, None] * rest).sum())


# Emissions ----------------------------------------------------------------------------------------


def matrices_of(covariances, covariance_type, n_states, n_features):
    """Covariances in any of scikit-learn's shapes as (n_states, D, D)."""
    covariances, eye = np.asarray(covariances, dtype=float), np.eye(n_features)
    if covariance_type == "full":
        return covariances
    if covariance_type == "tied":
        return np.stack([covariances] * n_states)
    if covariance_type == "diag":
        return covariances[:, :, None] * eye
    return covariances[:, None, None] * eye


def _by_row(X, n_states, log_p):
    """Stack log_p(k, row, seen) over rows and states; a row without observations has 0."""
    X = np.asarray(X, dtype=float)
    out = np.zeros((len(X), n_states))
    for t, row in enumerate(X):
        seen = ~np.isnan(row)
        if seen.any():
            out[t] = [log_p(k, row[seen], seen) for k in range(n_states)]
    return out


def _gaussian(X, emission):
    means = emission.means_
    matrices = matrices_of(emission.covariances_, emission.covariance_type, *means.shape)

    def log_p(k, row, seen):
        return multivariate_normal.logpdf(row, means[k][seen], matrices[k][np.ix_(seen, seen)])

    return _by_row(X, len(means), log_p)


def _student_t(X, emission):
    means = emission.means_
    matrices = matrices_of(emission.covariances_, emission.covariance_type, *means.shape)

    def log_p(k, row, seen):
        scale = matrices[k][np.ix_(seen, seen)]
        return multivariate_t(means[k][seen], scale, df=emission.dofs_[k]).logpdf(row)

    return _by_row(X, len(means), log_p)


def _gaussian_mixture(X, emission):
    n_states, n_mix, n_features = emission.means_.shape
    covariances = emission.covariances_
    if emission.covariance_type != "tied":
        covariances = covariances.reshape(n_states * n_mix, *covariances.shape[2:])
    matrices = matrices_of(covariances, emission.covariance_type, n_states * n_mix, n_features)
    means, weights = emission.means_.reshape(-1, n_features), emission.weights_.ravel()

    def log_p(k, row, seen):
        parts = [
            _log(weights[j])
            + multivariate_normal.logpdf(row, means[j][seen], matrices[j][np.ix_(seen, seen)])
            for j in range(k * n_mix, (k + 1) * n_mix)
        ]
        return logsumexp(parts)

    return _by_row(X, n_states, log_p)


def _categorical(X, emission):
    p = emission.probabilities_

    def log_p(k, row, seen):
        return sum(_log(p[k, j, int(x)]) for j, x in zip(np.flatnonzero(seen), row, strict=True))

    return _by_row(X, len(p), log_p)


def _poisson(X, emission):
    return _by_row(
        X, len(emission.rates_), lambda k, row, s: poisson.logpmf(row, emission.rates_[k][s]).sum()
    )


def _bernoulli(X, emission):
    p = emission.probabilities_
    return _by_row(X, len(p), lambda k, row, seen: bernoulli.logpmf(row, p[k][seen]).sum())


def _column(X, emission):
    return sum(
        log_emission(np.asarray(X)[:, index], part) for _, part, index in emission.emissions_
    )


def _multinomial(X, emission):
    missing = np.isnan(X).any(axis=1)
    counts = np.where(missing[:, None], 0.0, X).astype(int)
    found = [multinomial.logpmf(counts, counts.sum(axis=1), p) for p in emission.probabilities_]
    return np.where(missing, 0.0, np.stack(found)).T


def _columns(terms, *names):
    """ln p of rows whose columns are independent, by terms of scipy for each column."""

    def log_p(X, emission):
        X = np.asarray(X, dtype=float)[:, None]
        found = terms(np.where(np.isnan(X), 1.0, X), *(getattr(emission, name) for name in names))
        return np.where(np.isnan(X), 0.0, found).sum(axis=2)

    return log_p


def gamma_terms(x, shapes, scales):
    return gamma.logpdf(x, shapes, scale=scales)


def von_mises_terms(x, directions, concentrations):
    return vonmises.logpdf(x, concentrations, loc=directions)


def negative_binomial_terms(x, rates, dispersions):
    size = 1.0 / np.where(dispersions > 0, dispersions, 1.0)
    found = nbinom.logpmf(x, size, size / (size + rates))
    return np.where(dispersions > 0, found, poisson.logpmf(x, rates))


def zero_inflated_terms(x, rates, zero_weights):
    return _log(zero_weights * (x == 0) + (1.0 - zero_weights) * poisson.pmf(x, rates))


_FAMILIES = {
    "GammaEmission": _columns(gamma_terms, "shapes_", "scales_"),
    "VonMisesEmission": _columns(von_mises_terms, "directions_", "concentrations_"),
    "NegativeBinomialEmission": _columns(negative_binomial_terms, "rates_", "dispersions_"),
    "ZeroInflatedPoissonEmission": _columns(zero_inflated_terms, "rates_", "zero_weights_"),
    "MultinomialEmission": _multinomial,
    "GaussianEmission": _gaussian,
    "StudentTEmission": _student_t,
    "GaussianMixtureEmission": _gaussian_mixture,
    "CategoricalEmission": _categorical,
    "PoissonEmission": _poisson,
    "BernoulliEmission": _bernoulli,
    "ColumnEmission": _column,
}


def log_emission(X, emission):
    """ln p(x_t | state) of what is observed in each row, (T, K), by scipy."""
    return _FAMILIES[type(emission).__name__](X, emission)


# Models -------------------------------------------------------------------------------------------


def split(X, lengths):
    """The sequences of rows that stand one after the other."""
    return np.split(np.asarray(X), np.cumsum(lengths)[:-1])


def posteriors(model, sequences):
    """The Posterior of each sequence under a fitted EMHiddenMarkov."""
    return [
        forward_backward(model.startprob_, model.transmat_, log_emission(X, model.emission_))
        for X in sequences
    ]


def log_likelihood(model, sequences):
    """ln p(x) of all sequences."""
    return sum(found.log_likelihood for found in posteriors(model, sequences))


def expected_chain(found, weights=None):
    """(startprob, transmat) after one step of Baum-Welch from some Posteriors."""
    weights = np.ones(len(found)) if weights is None else weights
    starts = sum(w * each.smoothed[0] for w, each in zip(weights, found, strict=True))
    pairs = sum(w * each.pairs for w, each in zip(weights, found, strict=True))
    return starts / starts.sum(), pairs / pairs.sum(axis=1, keepdims=True)
