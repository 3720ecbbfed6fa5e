"""
What does an autoencoder learn from pictures of digits?
=======================================================

:class:`skvae.VariationalAutoencoder` describes each picture by a few numbers, its latent vector,
and knows what pictures such numbers give. Nobody tells it which digit a picture shows. What it has
learned is measured by the log-likelihood of pictures that it has not seen, in nats per row, and can
be looked at: in reconstructions, in draws, and in the latent space.
"""

# %%
# The data
# --------
# 1797 digits of 8 × 8 pixels, each white or black: the Bernoulli likelihood gives the probability
# of black to each pixel. A quarter of them is held out.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KNeighborsClassifier

from skvae import VariationalAutoencoder
from skvae.inspection import (
    BoundTermsDisplay,
    LatentSpaceDisplay,
    LatentTraversalDisplay,
    ReconstructionDisplay,
    SampleDisplay,
)

digits = load_digits()
X = (digits.data >= 8).astype(float)
X_train, X_test, y_train, y_test = train_test_split(X, digits.target, random_state=0)

# %%
# Two numbers and twelve
# ----------------------
# With two latent dimensions all that the model knows is in one picture; with twelve it knows more.
# Beside them, pixels that know nothing of each other. The KL divergence is what the latent vector
# says of a picture on average. The last column is how many of the held-out digits are named rightly
# by the five training pictures whose latent vectors are nearest.

black = (X_train.sum(axis=0) + 1) / (len(X_train) + 2)
alone = (X_test * np.log(black) + (1 - X_test) * np.log1p(-black)).sum(axis=1).mean()
print(f"independent pixels      {alone:.2f} nats per held-out picture")
models = {}
for n_components in (2, 12):
    model = VariationalAutoencoder(
        n_components,
        likelihood="bernoulli",
        encoder_covariance="full",
        max_epochs=120,
        n_score_samples=1000,
        random_state=0,
    ).fit(X_train)
    neighbours = KNeighborsClassifier(5).fit(model.transform(X_train), y_train)
    named = neighbours.score(model.transform(X_test), y_test)
    print(
        f"{n_components:2d} latent dimensions    {model.score(X_test):.2f}, "
        f"{model.active_units(X_test).sum()} in use, KL {model.elbo(X_test).kl.mean():.1f} nats, "
        f"{named:.0%} named rightly"
    )
    models[n_components] = model

# %%
# The pictures
# ------------
# Above, of the model with twelve dimensions: held-out digits and their reconstructions, draws, and
# the bound over the epochs. Below, of the model with two: where the held-out digits lie, and which
# pictures the places of the latent space stand for.

figure, axes = plt.subplot_mosaic(
    [["rows", "rows", "draws"], ["terms", "latent", "grid"]],
    figsize=(16, 9),
    layout="constrained",
)
ReconstructionDisplay.from_estimator(
    models[12], X_test[:24], image_shape=(8, 8), n_columns=12, ax=axes["rows"]
)
axes["rows"].set_title("held-out digits, from twelve numbers each")
SampleDisplay.from_estimator(
    models[12], 50, image_shape=(8, 8), random_state=0, noise=False, ax=axes["draws"]
)
axes["draws"].set_title("draws, the probability of black")
BoundTermsDisplay.from_estimator(models[12], first_epoch=3, ax=axes["terms"])
axes["terms"].set_title("training, twelve dimensions")
LatentSpaceDisplay.from_estimator(models[2], X_test, labels=y_test, ax=axes["latent"])
axes["latent"].set_title("held-out digits in two dimensions")
LatentTraversalDisplay.from_estimator(
    models[2], grid=True, n_steps=11, image_shape=(8, 8), ax=axes["grid"]
)
axes["grid"].set_title("what the places stand for")
figure.savefig("digits_autoencoder.png", dpi=100)
print("\nThe figure is in digits_autoencoder.png")

# %%
# What they show
# --------------
# Two numbers a picture are worth almost five nats and twelve more than seven, against pixels that
# know nothing of each other. On the map the zeros, fours and sixes have places of their own, and
# what the decoder draws there agrees; other digits overlap, and the places between are blurred.
# Twelve dimensions keep nine digits in ten apart, and most of the draws look like digits. The bound
# of the rows kept aside falls behind that of the others and still rises a little when the training
# ends.
