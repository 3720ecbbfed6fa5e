"""
Is a curved surface better described by many Gaussians or by one decoder?
=========================================================================

Rows near a surface have two degrees of freedom, for any number of features. A mixture covers the
surface with flat pieces: more pieces fit better, but have fewer rows each. The decoder of
:class:`skvae.VariationalAutoencoder` maps two latent dimensions to the surface. Both are compared
by the log-likelihood of new rows, in nats per row.
"""

# %%
# The data
# --------
# A curved function maps two numbers, uniform on a square, to twelve features, and noise is added to
# each feature. The true density is an integral over the square, computed by a sum on a fine grid:
# no model can score higher on average. There are few training rows, and many rows to score.

# sphinx_gallery_thumbnail_number = 3
import warnings

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import logsumexp
from sklearn.model_selection import GridSearchCV

from skvae import EMGaussianMixture, VariationalAutoencoder
from skvae.vae import EffectiveSizeWarning

NOISE = 0.15
rng = np.random.default_rng(0)
mixing, offset = 2.0 * rng.normal(size=(2, 12)), rng.uniform(0, 2 * np.pi, size=12)


def surface(causes):
    """Return the points of the surface, shape (n, 12), at pairs of numbers in [-1, 1]."""
    return np.sin(causes @ mixing + offset)


def draw(n_rows):
    """Return rows near the surface."""
    return surface(rng.uniform(-1, 1, size=(n_rows, 2))) + NOISE * rng.normal(size=(n_rows, 12))


def true_log_density(X, n_points=80):
    """Return the log-density of rows, nats."""
    ticks = (np.arange(n_points) + 0.5) / n_points * 2 - 1
    centres = surface(np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2))
    squares = (X**2).sum(axis=1)[:, None] - 2 * X @ centres.T + (centres**2).sum(axis=1)
    log_normal = -squares / (2 * NOISE**2) - 6 * np.log(2 * np.pi * NOISE**2)
    return logsumexp(log_normal, axis=1) - np.log(len(centres))


X_new = draw(1000)
truth = true_log_density(X_new).mean()
print(f"truth: {truth:.2f} nats per new row")

# %%
# The two models
# --------------
# The number of components is chosen by cross-validation. If the encoder approximates a posterior
# badly, importance sampling needs more draws; with too few draws the score of the autoencoder is
# too low, not too high, so the warning is ignored here.

warnings.simplefilter("ignore", EffectiveSizeWarning)
sizes = [200, 600, 2000]
scores = {"mixture": [], "autoencoder": []}
for size in sizes:
    X = draw(size)
    mixture = GridSearchCV(
        EMGaussianMixture(reg_covar=1e-3, random_state=0), {"n_components": [2, 4, 8, 16, 24]}, cv=3
    ).fit(X)
    autoencoder = VariationalAutoencoder(
        2, hidden_layer_sizes=(64, 64), max_epochs=120, n_score_samples=300, random_state=0
    ).fit(X)
    scores["mixture"].append(mixture.score(X_new))
    scores["autoencoder"].append(autoencoder.score(X_new))
    print(
        f"{size:4d} rows: mixture of {mixture.best_params_['n_components']:2d} "
        f"{scores['mixture'][-1]:.2f}, autoencoder {scores['autoencoder'][-1]:.2f}"
    )

# %%
# The scores
# ----------

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
ax.plot(sizes, scores["mixture"], "s--", color="#0072B2", label="mixture")
ax.plot(sizes, scores["autoencoder"], "o-", color="#D55E00", label="autoencoder")
ax.axhline(truth, color="k", linestyle=":", label="truth")
ax.set(xscale="log", xlabel="rows to learn from", ylabel="nats per new row", title="Scores")
ax.set_xticks(sizes, list(map(str, sizes)))
ax.minorticks_off()
ax.legend()

# %%
# The surface
# -----------
# Two of the features, new rows in grey. Ellipses are the components of the mixture at two standard
# deviations.

_, ax = plt.subplots(figsize=(5, 4), layout="constrained")
ax.plot(*X_new[:, :2].T, ".", color="0.75", markersize=3, zorder=0)
turns = np.linspace(0, 2 * np.pi, 60)
circle = 2 * np.stack([np.cos(turns), np.sin(turns)])
marginal = mixture.best_estimator_.marginal([0, 1])
for mean, covariance in zip(marginal.means_, marginal.covariances_, strict=True):
    ax.plot(*(mean[:, None] + np.linalg.cholesky(covariance) @ circle), color="#0072B2", lw=1)
title = f"Mixture of {len(marginal.means_)}, {size} rows"
ax.set(xlabel="feature 0", ylabel="feature 1", title=title)

# %%
# Lines are the decoder's images of a grid of latent vectors.

_, ax = plt.subplots(figsize=(5, 4), layout="constrained")
ax.plot(*X_new[:, :2].T, ".", color="0.75", markersize=3, zorder=0)
fine = np.linspace(-1.5, 1.5, 60)
for tick in np.linspace(-1.5, 1.5, 9):
    for line in (np.column_stack([np.full(60, tick), fine]), np.column_stack([fine, [tick] * 60])):
        ax.plot(*autoencoder.inverse_transform(line)[:, :2].T, color="#D55E00", lw=0.8)
ax.set(xlabel="feature 0", ylabel="feature 1", title=f"Autoencoder, {size} rows")
plt.show()

# %%
# Result
# ------
# Trained on 200 rows, the autoencoder is two nats per row better than the mixture, which has too
# few rows for the pieces it needs. Trained on 600 and 2000 rows it is about half a nat better,
# though the mixture then has eight and sixteen components. The gain of the network from more rows
# depends on the length of the training: from 600 rows on it gains nothing here. Neither reaches the
# truth. In two of the twelve features the surface is folded onto itself, and so is the grid of
# latent vectors, which does not reach the rows at the lower edge; the ellipses cover them all.
