"""
How probable are the rows, where an integral is too expensive?
==============================================================

The evidence p(X) of a mixture is an integral over all weights, means and variances, and a sum over
all assignments of rows to components. Two exact ways become too expensive: for N rows and K
components the sum has K to the power N terms, and a grid of m points for each of P parameters has m
to the power P points. The bound ``elbo_`` costs nothing more than the fit, but its gap is unknown.
Importance sampling
(:meth:`~skvae.BayesianMixtureSVI.log_evidence`) takes about the same time for all sizes here, and
has a standard error.
"""

from itertools import product
from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import gammaln, logsumexp

from skvae import BayesianMixtureSVI

# %%
# The sum over all assignments
# ----------------------------
#
# Given the assignments, all integrals have a closed form. For two components with one feature:


def log_marginal(x, model):
    """Return ln p(x) of the rows of one component, its mean and precision integrated out."""
    beta, m = model.mean_precision_prior_, model.mean_prior_[0]
    dof, scale = model.degrees_of_freedom_prior_, model.covariance_prior_.item()
    n = len(x)
    if n == 0:
        return 0.0
    scatter = ((x - x.mean()) ** 2).sum() + beta * n / (beta + n) * (x.mean() - m) ** 2
    value = gammaln((dof + n) / 2) - gammaln(dof / 2) + 0.5 * dof * np.log(scale)
    value -= 0.5 * (dof + n) * np.log(scale + scatter)
    return value + 0.5 * np.log(beta / (beta + n)) - 0.5 * n * np.log(np.pi)


def enumerated(x, model):
    """Return ln p(x) as the sum over all assignments to two components with uniform weights."""
    values = []
    for labels in product((0, 1), repeat=len(x)):
        z = np.array(labels)
        n = z.sum()
        of_weights = gammaln(n + 1) + gammaln(len(x) - n + 1) - gammaln(len(x) + 2)
        parts = log_marginal(x[z == 0], model) + log_marginal(x[z == 1], model)
        values.append(of_weights + parts)
    return logsumexp(values)


def fitted(X):
    """Return a mixture of two components, its weights uniform a priori."""
    return BayesianMixtureSVI(
        2,
        weight_concentration_prior_type="dirichlet_distribution",
        weight_concentration_prior=1.0,
        moves=(),  # always two
        random_state=0,
    ).fit(X)


rng = np.random.default_rng(0)
x = rng.normal(size=200) + 2.5 * (np.arange(200) % 2)
fitted(x[:4, None]).log_evidence(x[:4, None], n_draws=10)  # compiled
sizes, seconds, values = (4, 6, 8, 10, 12), [], []
for n in sizes:
    mixture = fitted(x[:n, None])
    start = perf_counter()
    exact = enumerated(x[:n], mixture)
    middle = perf_counter()
    found = mixture.log_evidence(x[:n, None], random_state=0)
    seconds.append((middle - start, perf_counter() - middle))
    values.append((exact, found.value, mixture.elbo_))
    print(f"{n:3d} rows: {exact:8.3f}, {found.value:8.3f} ± {found.standard_error:.3f}, ", end="")
    print(f"bound {mixture.elbo_:8.3f}")

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
ax.semilogy(sizes, [pair[0] for pair in seconds], "o-", label="all assignments")
ax.semilogy(sizes, [pair[1] for pair in seconds], "s-", label="importance sampling")
ax.set(xlabel="rows", ylabel="seconds", title="Two components, one feature")
ax.legend()

# %%
# The bound is one to three nats low, for two reasons: q has one of the two orders of the
# components (ln 2), and its factors are independent.
#
# More rows, more dimensions
# --------------------------
#
# Each row doubles the number of terms. A grid with 20 points for each of the 2 K D + K − 1
# parameters would need more points than the sum has terms. The time of importance sampling does not
# depend on either in this way: here are 200 rows, and 1 to 4 features.
dimensions, of_dimension = (1, 2, 3, 4), []
for d in dimensions:
    X = rng.normal(size=(200, d)) + 4.0 * (np.arange(200) % 2)[:, None]
    mixture = BayesianMixtureSVI(
        2,
        covariance_type="diag",
        weight_concentration_prior_type="dirichlet_distribution",
        moves=(),
        random_state=0,
    ).fit(X)
    start = perf_counter()
    found = mixture.log_evidence(X, random_state=0)
    of_dimension.append(perf_counter() - start)
    print(f"{d} features: {found.value:9.2f} ± {found.standard_error:.2f}, ", end="")
    print(f"khat {found.khat:.2f}, bound {mixture.elbo_:9.2f}")

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
points = [20.0 ** (4 * d + 1) for d in dimensions]
ax.semilogy(dimensions, [1e-8 * count for count in points], "o--", label="grid, 10 ns a point")
ax.semilogy(dimensions, of_dimension, "s-", label="importance sampling")
ax.set(xlabel="features", ylabel="seconds", title="200 rows, diagonal covariances")
ax.set_xticks(dimensions)
ax.legend()
plt.show()
