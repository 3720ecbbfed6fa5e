"""
How should the KL term be weighted?
===================================

The training objective of a variational autoencoder is a reconstruction term minus a KL divergence.
Many programs multiply the divergence by a weight β, and many do so implicitly. ``beta`` of
:class:`skvae.VariationalAutoencoder` changes the training only, never the meaning of ``score``, so
the held-out log-likelihood can be used to choose it.
"""

# %%
# The data
# --------
# 1797 handwritten digits of 8 by 8 pixels, black or white: 64 features with a Bernoulli likelihood
# each. A third of the digits is held out.

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skvae import VariationalAutoencoder
from skvae.vae import EffectiveSizeWarning

images = (load_digits().data > 7).astype(float)
X, X_test = train_test_split(images, test_size=1 / 3, random_state=0)
n_features = X.shape[1]

# %%
# The weights
# -----------
# The objective is :math:`E \ln p(x \mid z) - \beta\, \mathrm{KL}(q(z \mid x) \,\|\, p(z))`, where
# the first term is the *sum* over the 64 pixels. It is the evidence lower bound for β = 1 only. A
# program with the *mean* over pixels (the default of most loss functions) and the divergence as a
# sum maximises
#
# .. math:: \tfrac1D E \ln p(x \mid z) - \mathrm{KL} = \tfrac1D \left( E \ln p(x \mid z)
#           - D\, \mathrm{KL} \right),
#
# which is β = D in other units: 64 here, and 3072 for a small colour photograph. With other data or
# another resolution this is another β. Both terms must be sums within a row, and means over rows
# only.
#
# There is no early stopping here: it uses the bound with β = 1 on validation rows, and would
# counteract a small β.

warnings.simplefilter("ignore", EffectiveSizeWarning)  # a small β makes q too narrow
weights = [0.05, 0.2, 0.5, 1.0, 2.0, 4.0, float(n_features)]
models = {
    beta: VariationalAutoencoder(
        10,
        hidden_layer_sizes=(64,),
        likelihood="bernoulli",
        beta=beta,
        lr=5e-3,
        max_epochs=80,
        early_stopping=False,
        random_state=0,
    ).fit(X)
    for beta in weights
}
scores = [model.score(X_test) for model in models.values()]
terms = [model.elbo(X_test) for model in models.values()]
reconstruction = [term.reconstruction.mean() for term in terms]
kl = [term.kl.mean() for term in terms]
active = [model.active_units(X_test).sum() for model in models.values()]
black = (X.sum(axis=0) + 1) / (len(X) + 2)
alone = (X_test * np.log(black) + (1 - X_test) * np.log1p(-black)).sum(axis=1).mean()
print(f"independent pixels: {alone:.2f} nats per held-out row")
print("  beta   nats per held-out row   reconstruction      KL   active units of 10")
for row in zip(weights, scores, reconstruction, kl, active, strict=True):
    print("{:6.2f} {:23.2f} {:16.2f} {:7.2f} {:20d}".format(*row))

# %%
# The score
# ---------


def over_weights(title, ylabel, curves):
    """Draw curves over the weights."""
    _, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
    for (name, values), style in zip(curves.items(), ("o-", "s--"), strict=False):
        ax.plot(weights, values, style, label=name)
    ax.axvline(1, color="k", linestyle=":", label="β = 1, the bound")
    ax.axvline(n_features, color="k", linestyle="-.", label="β = 64, mean over pixels")
    ax.set(xscale="log", xlabel="β", ylabel=ylabel, title=title)
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize="small")


over_weights("Held-out log-likelihood", "nats per held-out row", {"score": scores})

# %%
# The two terms
# -------------

curves = {"reconstruction": reconstruction, "− KL": np.negative(kl)}
over_weights("The two terms", "nats per held-out row", curves)

# %%
# Latent dimensions in use
# ------------------------

over_weights("Latent dimensions in use, of 10", "number", {"active units": active})

# %%
# A few held-out digits and their reconstructions
# -----------------------------------------------

shown = (0.05, 1.0, 4.0, float(n_features))
_, strips = plt.subplots(1 + len(shown), 1, figsize=(6.4, 2.6), layout="constrained")
rows = X_test[:12]
for ax, name in zip(strips, ("digits", *shown), strict=True):
    pictures = rows if name == "digits" else models[name].reconstruct(rows)
    strip = np.pad(pictures.reshape(-1, 8, 8), ((0, 0), (0, 0), (1, 1)), constant_values=0.5)
    ax.imshow(np.concatenate(strip, axis=1), cmap="gray_r", vmin=0, vmax=1)
    ax.set_ylabel(
        name if name == "digits" else f"β = {name:g}", rotation=0, ha="right", va="center"
    )
    ax.set(xticks=[], yticks=[])
plt.show()

# %%
# Result
# ------
# On held-out rows β = 1 is best, by nearly a nat over half and twice this weight. With a smaller
# weight digits are reconstructed better, but the divergence rises by more: the latent vectors are
# far from draws of the prior. With a larger weight the latent vector contains less information
# about a digit, and latent dimensions become inactive.
#
# With the mean over pixels instead of the sum no dimension is active, every digit is reconstructed
# as the average digit, and the score is that of independent pixels. This looks like a failure of
# the model ("posterior collapse"), but it is an error of units.
#
# Another β than one can be useful for a latent space, but not for the density. If latent dimensions
# become inactive early in training, use ``kl_warmup``: its final objective is the bound.
