"""Reference computations for the tests: slow, obvious, and independent of skvae.

A mixture of Gaussians is p(x) = Σ_k π_k N(x; μ_k, Σ_k). Everything here takes the parameters in
the shapes scikit-learn gives them (`covariances` by `covariance_type`) and works row by row,
component by component, in the textbook order of operations. `test_oracles.py` checks these
functions against closed forms.

Two precisions: the plain functions use float64 and scipy, the `precise_*` ones use 60 decimal
digits, for data on which float64 formulas cancel.

Trees of a grammar are written out one by one in fractions, at the end.

References
----------
Little and Rubin (2019), Statistical Analysis with Missing Data, section 11.2 (the E and M step
with missing values); Hunt and Jorgensen (2003), Mixture model clustering for mixed data with
missing information (the same in a mixture).
"""

from collections import Counter
from fractions import Fraction
from functools import cache
from itertools import product
from typing import NamedTuple

import mpmath
import numpy as np
from scipy.special import logsumexp
from scipy.stats import multivariate_normal

DIGITS = 60


class Mixture(NamedTuple):
    """Parameters of a Gaussian mixture, with the covariances in scikit-learn's shapes."""

    weights: np.ndarray
    means: np.ndarray
    covariances: np.ndarray
    covariance_type: str

    @property
    def matrices(self):
        """The covariances as matrices, (n_components, n_features, n_features)."""
        n_components, n_features = np.shape(self.means)
        covariances = np.asarray(self.covariances)
        eye = np.eye(n_features)
        if self.covariance_type == "full":
            return covariances
        if self.covariance_type == "tied":
            return np.stack([covariances] * n_components)
        if self.covariance_type == "diag":
            return np.stack([np.diag(variances) for variances in covariances])
        return np.stack([variance * eye for variance in covariances])


def mixture_of(estimator):
    """Parameters of a fitted estimator, read off its public attributes."""
    return Mixture(
        estimator.weights_, estimator.means_, estimator.covariances_, estimator.covariance_type
    )


def log_joint(X, mixture):
    """ln π_k + ln N(x_o; μ_k,o, Σ_k,oo) of the observed entries o of each row, (n, K)."""
    X = np.asarray(X, dtype=float)
    out = np.empty((len(X), len(mixture.weights)))
    for k, (weight, mean, matrix) in enumerate(
        zip(mixture.weights, mixture.means, mixture.matrices, strict=True)
    ):
        log_weight = np.log(weight) if weight > 0 else -np.inf
        complete = ~np.isnan(X).any(axis=1)
        if complete.any():
            density = multivariate_normal.logpdf(X[complete], mean, matrix)
            out[complete, k] = log_weight + density
        for i in np.flatnonzero(~complete):
            seen = ~np.isnan(X[i])
            out[i, k] = log_weight
            if seen.any():
                matrix_seen = matrix[np.ix_(seen, seen)]
                out[i, k] += multivariate_normal.logpdf(X[i, seen], mean[seen], matrix_seen)
    return out


def log_density(X, mixture):
    """ln p(x_o) of the observed entries of each row, (n,), nats."""
    return logsumexp(log_joint(X, mixture), axis=1)


def responsibilities(X, mixture):
    """p(k | x_o) of each row, (n, K)."""
    joint = log_joint(X, mixture)
    return np.exp(joint - logsumexp(joint, axis=1, keepdims=True))


def score(X, mixture, sample_weight=None):
    """Weighted mean of `log_density`, nats per row."""
    return float(np.average(log_density(X, mixture), weights=sample_weight))


def conditional_moments(row, mean, matrix):
    """E[x | x_o] (D,) and Cov[x | x_o] (D, D) under one Gaussian; NaN marks what is missing."""
    seen = ~np.isnan(row)
    hidden = ~seen
    filled = np.where(seen, row, mean)
    covariance = np.zeros_like(matrix)
    if hidden.any():
        gain = np.zeros((hidden.sum(), seen.sum()))
        if seen.any():
            inverse = np.linalg.inv(matrix[np.ix_(seen, seen)])
            gain = matrix[np.ix_(hidden, seen)] @ inverse
        filled[hidden] = mean[hidden] + gain @ (row[seen] - mean[seen])
        remaining = matrix[np.ix_(hidden, hidden)] - gain @ matrix[np.ix_(seen, hidden)]
        covariance[np.ix_(hidden, hidden)] = remaining
    return filled, covariance


def impute(X, mixture):
    """Σ_k p(k | x_o) E_k[x | x_o] of each row, (n, D)."""
    resp = responsibilities(X, mixture)
    out = np.array(X, dtype=float)
    for i, row in enumerate(np.asarray(X, dtype=float)):
        hidden = np.isnan(row)
        expected = sum(
            r * conditional_moments(row, mean, matrix)[0]
            for r, mean, matrix in zip(resp[i], mixture.means, mixture.matrices, strict=True)
        )
        out[i, hidden] = expected[hidden]
    return out


def covariance_floor(X, reg_covar, sample_weight=None):
    """The floor f with Σ ≥ diag(f): f_j = reg_covar · var_j, at least 1e-14 var_j, (D,).

    A constant column borrows the mean of the other columns' variances, or 1 if all are constant.
    """
    X = np.asarray(X, dtype=float)
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, dtype=float)
    variances = np.empty(X.shape[1])
    for j, column in enumerate(X.T):
        seen = ~np.isnan(column) & (weight > 0)
        if np.ptp(column[seen]) == 0:  # by value: the mean of equal numbers is rounded
            variances[j] = 0.0
            continue
        center = np.average(column[seen], weights=weight[seen])
        variances[j] = np.average((column[seen] - center) ** 2, weights=weight[seen])
    constant = variances == 0
    variances[constant] = 1.0 if constant.all() else variances[~constant].mean()
    if reg_covar == 0:
        return np.zeros_like(variances)
    return max(reg_covar, 1e-14) * variances


def constrained_covariance(scatter, floor):
    """argmax over Σ ≥ diag(floor) of −½(ln|Σ| + tr(Σ⁻¹ S)), S = `scatter` (D, D)."""
    if not np.any(floor):
        return scatter
    root = np.sqrt(floor)
    values, vectors = np.linalg.eigh(scatter / np.outer(root, root))
    clipped = (vectors * np.maximum(values, 1.0)) @ vectors.T
    return np.outer(root, root) * clipped


def _shaped(scatters, counts, covariance_type, floor):
    """The constrained M step of the covariances from each component's scatter, (K, D, D)."""
    if covariance_type == "full":
        return np.stack([constrained_covariance(scatter, floor) for scatter in scatters])
    if covariance_type == "tied":
        pooled = np.einsum("k,kij->ij", counts, scatters) / counts.sum()
        return constrained_covariance(pooled, floor)
    diagonals = np.stack([np.diag(scatter) for scatter in scatters])
    if covariance_type == "diag":
        return np.maximum(diagonals, floor)
    return np.maximum(diagonals.mean(axis=1), floor.max())


def em_step(X, mixture, *, reg_covar=0.0, sample_weight=None):
    """The mixture after one EM step from `mixture`; NaN marks missing entries."""
    X = np.asarray(X, dtype=float)
    n_samples, n_features = X.shape
    weight = np.ones(n_samples) if sample_weight is None else np.asarray(sample_weight, float)
    resp = weight[:, None] * responsibilities(X, mixture)
    counts = resp.sum(axis=0)
    means = np.empty((len(counts), n_features))
    scatters = np.empty((len(counts), n_features, n_features))
    incomplete = np.flatnonzero(np.isnan(X).any(axis=1))
    for k in range(len(counts)):
        filled = X.copy()
        spread = np.zeros((n_features, n_features))
        for i in incomplete:
            filled[i], covariance = conditional_moments(X[i], mixture.means[k], mixture.matrices[k])
            spread += resp[i, k] * covariance
        means[k] = resp[:, k] @ filled / counts[k]
        centred = filled - means[k]
        scatters[k] = ((resp[:, k, None] * centred).T @ centred + spread) / counts[k]
    floor = covariance_floor(X, reg_covar, weight)
    covariances = _shaped(scatters, counts, mixture.covariance_type, floor)
    return Mixture(counts / counts.sum(), means, covariances, mixture.covariance_type)


def em(X, mixture, n_iter, **options):
    """The mixture after `n_iter` EM steps."""
    for _ in range(n_iter):
        mixture = em_step(X, mixture, **options)
    return mixture


def n_free_parameters(n_components, n_features, covariance_type):
    """Number of free parameters of a Gaussian mixture."""
    per_type = {
        "full": n_components * n_features * (n_features + 1) // 2,
        "tied": n_features * (n_features + 1) // 2,
        "diag": n_components * n_features,
        "spherical": n_components,
    }
    return n_components - 1 + n_components * n_features + per_type[covariance_type]


def _precise_log_joint(row, mixture):
    """ln π_k + ln N(x; μ_k, Σ_k) of one row for each k, as mpmath numbers."""
    out = []
    for weight, mean, matrix in zip(mixture.weights, mixture.means, mixture.matrices, strict=True):
        covariance = mpmath.matrix(matrix.tolist())
        offset = mpmath.matrix(
            [mpmath.mpf(x) - mpmath.mpf(m) for x, m in zip(row, mean, strict=True)]
        )
        quadratic = (offset.T * mpmath.lu_solve(covariance, offset))[0]
        log_det = mpmath.log(mpmath.det(covariance))
        constant = len(row) * mpmath.log(2 * mpmath.pi)
        out.append(mpmath.log(mpmath.mpf(weight)) - (constant + log_det + quadratic) / 2)
    return out


def _precise_logsumexp(values):
    top = max(values)
    return top + mpmath.log(mpmath.fsum(mpmath.exp(value - top) for value in values))


def precise_log_density(X, mixture):
    """ln p(x) of each complete row in 60 digits, rounded to float64 at the end, (n,)."""
    with mpmath.workdps(DIGITS):
        rows = np.asarray(X, dtype=float)
        return np.array([float(_precise_logsumexp(_precise_log_joint(r, mixture))) for r in rows])


def _precise_weighted_moments(rows, weight):
    total = mpmath.fsum(weight)
    columns = [[mpmath.mpf(value) for value in column] for column in np.transpose(rows)]
    mean = [mpmath.fdot(weight, column) / total for column in columns]
    centred = [[x - m for x in column] for column, m in zip(columns, mean, strict=True)]
    covariance = [
        [
            mpmath.fsum(w * x * y for w, x, y in zip(weight, a, b, strict=True)) / total
            for b in centred
        ]
        for a in centred
    ]
    return np.array(mean, dtype=float), np.array(covariance, dtype=float)


def precise_moments(X, sample_weight=None):
    """Mean (D,) and maximum likelihood covariance (D, D) of complete rows in 60 digits."""
    weight = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)
    with mpmath.workdps(DIGITS):
        return _precise_weighted_moments(np.asarray(X, float), [mpmath.mpf(w) for w in weight])


def precise_em_step(X, mixture):
    """One EM step on complete rows in 60 digits, covariance type "full", no floor."""
    rows = np.asarray(X, dtype=float)
    with mpmath.workdps(DIGITS):
        resp = []
        for row in rows:
            joint = _precise_log_joint(row, mixture)
            norm = _precise_logsumexp(joint)
            resp.append([mpmath.exp(value - norm) for value in joint])
        columns = [list(column) for column in zip(*resp, strict=True)]
        moments = [_precise_weighted_moments(rows, column) for column in columns]
        weights = np.array([float(mpmath.fsum(column) / len(rows)) for column in columns])
    means, covariances = map(np.stack, zip(*moments, strict=True))
    return Mixture(weights, means, covariances, "full")


# Trees --------------------------------------------------------------------------------------------


class Node(NamedTuple):
    """A node of a tree: it covers the rows from `first` to `last`; a leaf has no children."""

    label: int
    first: int
    last: int
    children: tuple

    def nodes(self):
        """The node and all below it, in preorder."""
        yield self
        for child in self.children:
            yield from child.nodes()


class Trees(NamedTuple):
    """Every tree of one sentence with p(tree, x), a fraction."""

    trees: list
    probabilities: list

    @property
    def probability(self):
        """p(x), a fraction."""
        return sum(self.probabilities, Fraction(0))

    def best(self):
        """The largest p(tree, x)."""
        return max(self.probabilities, default=Fraction(0))

    def expected(self, items):
        """E[number of times that an item occurs in a tree | x], by item; `items` of a tree."""
        total, counts = self.probability, Counter()
        for tree, probability in zip(self.trees, self.probabilities, strict=True):
            for item in items(tree):
                counts[item] += probability
        return {item: float(count / total) for item, count in counts.items()}

    def rule_counts(self):
        """Expected numbers of rules, by (label, label of each child)."""
        return self.expected(
            lambda tree: [(a.label, *(b.label for b in a.children)) for a in tree.nodes()]
        )

    def leaf_labels(self):
        """The posterior of the leaves' labels, by (row, label)."""
        return self.expected(
            lambda tree: [(a.first, a.label) for a in tree.nodes() if not a.children]
        )

    def spans(self):
        """The probability that some node has rows and a label, by (first, last, label)."""
        return self.expected(lambda tree: {a[1:3] + a[:1] for a in tree.nodes()})


def enumerate_trees(grammar, likelihood, brackets=(), longest=None):
    """Write out every tree of one sentence that has a positive probability.

    `grammar` has startprob, rules, leafprob and units or None; `likelihood` (n, K) is a number for
    each row and label. Chains have at most `longest` unit rules; by default they visit no label
    twice, which is all chains where the unit rules have no cycle. A tree in which a constituent
    crosses a bracket (first, last) is left out.
    """
    n, n_labels = np.shape(likelihood)
    start, rules, leafprob, units = (
        None if array is None else np.vectorize(Fraction, otypes=[object])(array)
        for array in grammar
    )
    leaves = np.vectorize(Fraction, otypes=[object])(likelihood)
    labels = range(n_labels)

    def crosses(first, last):
        return any(a < first <= b < last or first < a <= last < b for a, b in brackets)

    @cache
    def without_unit(label, first, last):
        if first == last:
            return [(leafprob[label] * leaves[first, label], Node(label, first, last, ()))]
        return [
            (rules[label, b, c] * p * q, Node(label, first, last, (left, right)))
            for middle in range(first, last)
            for b, c in product(labels, labels)
            if rules[label, b, c]
            for p, left in below(b, first, middle)
            for q, right in below(c, middle + 1, last)
        ]

    def chains(label, first, last, visited):
        found = [(p, node) for p, node in without_unit(label, first, last) if p]
        if units is None or len(visited) > (n_labels - 1 if longest is None else longest):
            return found
        for b in labels:
            if units[label, b] and not (longest is None and b in visited):
                found += [
                    (units[label, b] * p, Node(label, first, last, (node,)))
                    for p, node in chains(b, first, last, (*visited, b))
                ]
        return found

    @cache
    def below(label, first, last):
        return [] if crosses(first, last) else chains(label, first, last, (label,))

    found = [
        (start[label] * p, tree)
        for label in labels
        if start[label]
        for p, tree in below(label, 0, n - 1)
    ]
    return Trees([tree for _, tree in found], [p for p, _ in found])
