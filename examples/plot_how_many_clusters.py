"""
How many clusters are there?
============================

A Bayesian mixture starts with more components than necessary, and superfluous components become
empty. :class:`skvae.BayesianMixtureSVI` has three learning methods for the same bound, and moves
that change the number of components. Here eight clusters are simulated, so the true number is
known.
"""

# %%
# The data
# --------
# 4000 rows in eight clusters of different sizes on a ring, and as many again to score.

import matplotlib.pyplot as plt
import numpy as np

from skvae import BayesianMixtureSVI, EMGaussianMixture

rng = np.random.default_rng(1)
angles = np.arange(8) * np.pi / 4
centers = 9.0 * np.column_stack([np.cos(angles), np.sin(angles)])
shares = rng.dirichlet(np.full(8, 6.0))


def draw(n_rows):
    """Return rows of the eight clusters."""
    labels = rng.choice(8, size=n_rows, p=shares)
    return centers[labels] + rng.normal(size=(n_rows, 2))


X, X_new = draw(4000), draw(4000)

# %%
# Three learning methods for one bound
# ------------------------------------
# "batch" updates the posterior after a pass over all rows, "memoized" updates it after each block
# of rows and stores the statistics of the blocks, "online" uses minibatches with a decreasing
# learning rate. The first two never lower the bound. For data that fit on a disk use "memoized": it
# is exact, and has no learning rate. "online" is for so many rows that there is time for one or two
# passes only; its recorded bounds are estimates, and with few rows, as here, it empties components
# slowly.

fits = {
    method: BayesianMixtureSVI(
        20,
        learning_method=method,
        moves=(),
        batch_size=250,
        max_iter=1000,
        tol=1e-6,
        random_state=0,
    ).fit(X)
    for method in ("batch", "memoized", "online")
}
fits["the defaults"] = BayesianMixtureSVI(20, random_state=0).fit(X)
fits["memoized, with moves, from one component"] = BayesianMixtureSVI(
    1, moves=("merge", "delete", "birth"), random_state=0, tol=1e-6
).fit(X)
for name, fit in fits.items():
    print(
        f"{name}: {fit.n_effective_components_} components hold rows, ELBO {fit.elbo_:.1f} nats, "
        f"{fit.score(X_new):.4f} nats per new row after {fit.n_e_steps_} passes"
    )

# %%
# The means of the fit with moves, with areas in proportion to their weights:

moved = fits["memoized, with moves, from one component"]
_, ax = plt.subplots(figsize=(5, 4), layout="constrained")
ax.plot(*X.T, ".", markersize=2, color="0.7")
ax.scatter(*moved.means_.T, s=2000 * moved.weights_, facecolors="none", edgecolors="C3", zorder=3)
ax.set(title=f"{moved.n_effective_components_} components were found", aspect="equal")

# %%
# The bounds over the passes:

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for name, style in (("batch", "-"), ("memoized", "--"), ("online", "-.")):
    fit = fits[name]
    ax.plot(np.arange(1, fit.n_iter_ + 1), fit.lower_bounds_, style, label=name)
ax.set(xlabel="pass", ylabel="bound, nats per row", title="Three methods", xscale="log")
ax.legend(loc="lower right")

# %%
# A bound to compare models
# -------------------------
# ``elbo_`` contains every constant, so it can compare numbers of components. The objective of EM
# rises with every component, so it cannot.

sizes = range(2, 15)
bounds, likelihoods = [], []
for size in sizes:
    bayesian = BayesianMixtureSVI(size, moves=(), random_state=0, n_init=3, max_iter=300).fit(X)
    bounds.append(bayesian.elbo_ / len(X))
    likelihoods.append(EMGaussianMixture(size, random_state=0, max_iter=300).fit(X).score(X))
best = list(sizes)[int(np.argmax(bounds))]
print(f"the bound is highest with {best} components")

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
ax.plot(sizes, bounds, "o-", label="ELBO of the Bayesian mixture")
ax.plot(sizes, likelihoods, "s--", label="log-likelihood, by EM")
ax.axvline(8, color="0.7", linestyle=":")
ax.set(xlabel="n_components", ylabel="nats per row", title="Number of components")
ax.legend(loc="lower right")
plt.show()

# %%
# Result
# ------
# There are eight clusters. The bound is flat where several components share a cluster, and rises by
# a step when one of them becomes empty. "memoized" converges in less than half the passes of
# "batch"; "online" has emptied no component when it stops, which matters little for a density. Each
# component beyond eight lowers the bound of the Bayesian mixture by slightly less than a hundredth
# of a nat per row. The objective of EM does not show the number: it only stops rising.
