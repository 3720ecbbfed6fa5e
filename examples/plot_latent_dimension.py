"""
How many latent dimensions are worth having?
============================================

The score of :class:`skvae.VariationalAutoencoder` is a held-out log-likelihood, so that
:class:`sklearn.model_selection.GridSearchCV` can choose ``n_components`` as it chooses anything
else. Here rows of twelve features are made from three numbers each, so that it is
known how many would do.
"""

# %%
# The data
# --------
# Three numbers go through curved functions, and each of the twelve features has noise.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.model_selection import GridSearchCV

from skvae import VariationalAutoencoder
from skvae.vae import EffectiveSizeWarning

rng = np.random.default_rng(0)
mixing, offset = 1.2 * rng.normal(size=(3, 12)), rng.uniform(0, 2 * np.pi, size=12)


def draw(n_rows):
    """Return rows, shape (n_rows, 12)."""
    causes = rng.normal(size=(n_rows, 3))
    return np.sin(causes @ mixing / 2 + offset) + 0.1 * rng.normal(size=(n_rows, 12))


X = draw(1000)

# %%
# The search
# ----------
# The score is by importance sampling. Where the encoder describes a posterior badly, a warning says
# that it is uncertain, and likely too low; with too few dimensions there are many such rows.

warnings.simplefilter("ignore", EffectiveSizeWarning)
sizes = [1, 2, 3, 4, 6]
autoencoder = VariationalAutoencoder(hidden_layer_sizes=(64,), max_epochs=100, random_state=0)
search = GridSearchCV(autoencoder, {"n_components": sizes}, cv=2).fit(X)
search

# %%
# One number for each size, in nats per row:

means = search.cv_results_["mean_test_score"]
print("n_components   nats per held-out row")
for size, mean in zip(sizes, means, strict=True):
    print(f"{size:12d} {mean:23.2f}")
print(f"chosen: n_components={search.best_params_['n_components']}")

# %%
# Needed and used
# ---------------
# ``active_units`` counts the dimensions whose posterior means vary over the rows. Used is not
# needed: a curved surface can be laid into more dimensions than it has.

models = {
    size: VariationalAutoencoder(
        size, hidden_layer_sizes=(64,), max_epochs=100, random_state=0
    ).fit(X)
    for size in (3, 6)
}
for size, model in models.items():
    terms = model.elbo(X)
    print(
        f"{size} dimensions: {model.active_units(X).sum()} in use, reconstruction "
        f"{terms.reconstruction.mean():.2f}, KL {terms.kl.mean():.2f} nats"
    )

# %%
# The pictures
# ------------
# Left, the search; right, for three and for six dimensions, how the posterior means spread.

figure, axes = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
axes[0].plot(sizes, means, "o-", color="#0072B2")
axes[0].axvline(3, color="0.6", linestyle=":", label="behind the rows")
axes[0].set(xlabel="n_components", ylabel="nats per held-out row", xticks=sizes, title="the search")
axes[0].legend(loc="lower right")
for (size, model), style in zip(models.items(), ("o-", "s--"), strict=True):
    spread = np.sort(model.transform(X).var(axis=0))[::-1]
    axes[1].plot(np.arange(1, size + 1), spread, style, label=f"n_components={size}")
axes[1].axhline(0.01, color="k", linestyle=":", label="in use above")
axes[1].set(
    yscale="log",
    xlabel="latent dimension, by variance",
    ylabel="variance of the posterior means",
    xticks=sizes,
    title="what is used",
)
axes[1].legend()
figure.savefig("latent_dimension.png", dpi=100)
print("\nThe figure is in latent_dimension.png")

# %%
# What they show
# --------------
# The second and the third dimension are worth about two nats each, a fourth a fifth of one, and six
# are worse than four. The search does not count the numbers behind the rows: it finds the size with
# which this network tells new rows best, after so much training. Nor does the spread of the
# posterior means, for all of six dimensions are in use, at a higher KL.
