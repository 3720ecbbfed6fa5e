"""
How many clusters are there?
============================

A Bayesian mixture is given more components than it can need, and empties those that the data do not
pay for. :class:`skvae.BayesianMixtureSVI` has three ways up the same bound, and moves that change
the number of components. Here eight clusters are simulated, so that the answer is known.
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
# Three ways up the same bound
# ----------------------------
# "batch" looks at all rows before it changes anything, "memoized" changes after each block of rows
# and remembers the blocks, "online" takes minibatches with a rate that falls. The first two never
# lower the bound. For data that fit on a disk "memoized" is the one to take: it is exact, and has
# no rate to choose. "online" is for so many rows that one or two passes are all there is time for;
# what it reports in between are estimates, and on data as few as these it is slow to empty a
# component.

fits = {
    method: BayesianMixtureSVI(
        20, learning_method=method, batch_size=250, max_iter=1000, tol=1e-6, random_state=0
    ).fit(X)
    for method in ("batch", "memoized", "online")
}
fits["memoized, with moves, from one component"] = BayesianMixtureSVI(
    1, moves=("merge", "delete", "birth"), random_state=0, tol=1e-6
).fit(X)
for name, fit in fits.items():
    print(
        f"{name}: {fit.n_effective_components_} components hold rows, ELBO {fit.elbo_:.1f} nats, "
        f"{fit.score(X_new):.4f} nats per new row after {fit.n_e_steps_} passes"
    )

# %%
# A bound that compares
# ---------------------
# ``elbo_`` has every constant, so it compares numbers of components. What EM maximises rises with
# every component, and so does not.

sizes = range(2, 15)
bounds, likelihoods = [], []
for size in sizes:
    bayesian = BayesianMixtureSVI(size, random_state=0, n_init=3, max_iter=300).fit(X)
    bounds.append(bayesian.elbo_ / len(X))
    likelihoods.append(EMGaussianMixture(size, random_state=0, max_iter=300).fit(X).score(X))
best = list(sizes)[int(np.argmax(bounds))]
print(f"the bound is highest with {best} components")

# %%
# The pictures
# ------------
# On the left the data and the means with their weights; in the middle the bounds over passes; on
# the right what chooses the number of components and what does not.

figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
moved = fits["memoized, with moves, from one component"]
axes[0].plot(*X.T, ".", markersize=2, color="0.7")
axes[0].scatter(
    *moved.means_.T, s=2000 * moved.weights_, facecolors="none", edgecolors="C3", zorder=3
)
axes[0].set_title("means found, as large as their weights")
for name, style in (("batch", "-"), ("memoized", "--"), ("online", "-.")):
    fit = fits[name]
    axes[1].plot(np.arange(1, fit.n_iter_ + 1), fit.lower_bounds_, style, label=name)
axes[1].set(xlabel="pass", ylabel="bound, nats per row", title="three ways up", xscale="log")
axes[1].legend(loc="lower right", fontsize="small")
axes[2].plot(sizes, bounds, "o-", label="ELBO of the Bayesian mixture")
axes[2].plot(sizes, likelihoods, "s--", label="log-likelihood, by EM")
axes[2].axvline(8, color="0.7", linestyle=":")
axes[2].set(xlabel="n_components", ylabel="nats per row", title="which number")
axes[2].legend(loc="lower right", fontsize="small")
figure.savefig("how_many_clusters.png", dpi=100)
print("\nThe figure is in how_many_clusters.png")

# %%
# What they show
# --------------
# There are eight. The bound is flat where several components share a cluster, and rises by a step
# whenever one of them is given up. "memoized" gets there in less than half the passes of "batch";
# "online" has given up none when it stops, and for a density that matters little. More components
# than eight lower the bound of the Bayesian mixture, each by a little less than a hundredth of a
# nat per row. What EM maximises does not say when to stop: it only stops rising.
