"""
How many latent dimensions are useful?
======================================

The score of :class:`skvae.VariationalAutoencoder` is a held-out log-likelihood, so that
:class:`sklearn.model_selection.GridSearchCV` can choose ``n_components`` like any other parameter.
Here rows of twelve features are made from three numbers each, so the sufficient number is known.
"""

# %%
# The data
# --------
# Curved functions map three numbers to twelve features, and noise is added to each feature.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, ShuffleSplit

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
# 300 rows are held out. The noise is the same for all rows, so one σ for each feature is enough:
# ``scale="feature"`` trains one model, where the default trains two and keeps the better one.
#
# The score is by importance sampling. If the encoder approximates the posteriors of many rows
# badly, there is a warning that the score is uncertain, and probably too low; with too few
# dimensions there are many such rows.

warnings.simplefilter("ignore", EffectiveSizeWarning)
sizes = [1, 2, 3, 4, 6]
autoencoder = VariationalAutoencoder(
    hidden_layer_sizes=(64,),
    likelihood_params={"scale": "feature"},
    batch_size=128,
    lr=1e-2,
    max_epochs=60,
    random_state=0,
)
split = ShuffleSplit(1, test_size=0.3, random_state=0)
search = GridSearchCV(autoencoder, {"n_components": sizes}, cv=split, refit=False).fit(X)
search

# %%
# One number for each size, in nats per row:

means = search.cv_results_["mean_test_score"]
print("n_components   nats per held-out row")
for size, mean in zip(sizes, means, strict=True):
    print(f"{size:12d} {mean:23.2f}")
print(f"chosen: n_components={search.best_params_['n_components']}")

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
ax.plot(sizes, means, "o-", color="#0072B2")
ax.axvline(3, color="0.6", linestyle=":", label="true number")
ax.set(xlabel="n_components", ylabel="nats per held-out row", xticks=sizes, title="The search")
ax.legend(loc="lower right")

# %%
# Necessary and active dimensions
# -------------------------------
# ``active_units`` shows the dimensions with posterior means that vary over the rows. An active
# dimension may be unnecessary: a curved surface can extend into more dimensions than its own.

models = {size: clone(autoencoder).set_params(n_components=size).fit(X) for size in (3, 6)}
for size, model in models.items():
    terms = model.elbo(X)
    print(
        f"{size} dimensions: {model.active_units(X).sum()} in use, reconstruction "
        f"{terms.reconstruction.mean():.2f}, KL {terms.kl.mean():.2f} nats"
    )

# %%
# The variances of the posterior means:

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for (size, model), style in zip(models.items(), ("o-", "s--"), strict=True):
    spread = np.sort(model.transform(X).var(axis=0))[::-1]
    ax.plot(np.arange(1, size + 1), spread, style, label=f"n_components={size}")
ax.axhline(0.01, color="k", linestyle=":", label="active above")
ax.set(yscale="log", xlabel="latent dimension, by variance", ylabel="variance of the means")
ax.set(xticks=sizes, title="Active dimensions")
ax.legend()
plt.show()

# %%
# Result
# ------
# The second dimension gains two nats and the third almost three, the fourth less than a tenth of a
# nat, and six dimensions are worse than three. The search does not find the true number: it finds
# the best size for the density of new rows, for this network and this length of training. The
# variances of the posterior means do not show the true number either: all six dimensions are
# active, at a higher KL.
