"""
Units of speech without labels
==============================

A language is made of few units, and speakers say them differently. This example finds the units in
sequences without any label: :class:`skvae.HiddenMarkovAutoencoder` has a continuous latent vector
for the manner of a row and a discrete state for its unit.
"""

# %%
# The data
# --------
# Six units are six places on one axis of the articulators. A speaker shifts all of them along a
# second axis. Sines bend the plane of both axes into twelve features, so that the rows of a unit
# lie on a curve along the speakers. A unit lasts three to six rows, and has few successors. Each
# sequence has another speaker.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from skvae import EMHiddenMarkov, HiddenMarkovAutoencoder
from skvae.inspection import StatePathDisplay, TransitionDisplay

fixed = np.random.default_rng(5)
directions, phases = 1.2 * fixed.normal(size=(2, 12)), fixed.uniform(0, 2 * np.pi, size=12)
places = 0.8 * (np.arange(6) - 2.5)
order = fixed.dirichlet(np.full(6, 0.5), size=6) * (1 - np.eye(6))
order /= order.sum(axis=1, keepdims=True)


def speak(rng, n_said=12):
    """Return the rows of one speaker, and the unit of each."""
    unit, said = rng.integers(6), []
    for _ in range(n_said):
        said += [unit] * rng.integers(3, 7)
        unit = rng.choice(6, p=order[unit])
    said = np.array(said)
    z = np.column_stack([places[said], np.full(len(said), 0.8 * rng.normal())])
    z += 0.15 * rng.normal(size=z.shape)
    x = np.sin(z @ directions + phases)
    return x + 0.05 * rng.normal(size=x.shape), said


rng = np.random.default_rng(1)
X, units = zip(*[speak(rng) for _ in range(80)], strict=True)
X, units, X_test, units_test = list(X[:60]), units[:60], list(X[60:]), units[60:]

# %%
# Two models
# ----------
# Both have six states. A Gaussian chain has one Gaussian of the features for each; the autoencoder
# has one of the latent vector, and its decoder learns the surface. Neither sees a unit.

gaussian = EMHiddenMarkov(6, n_init=5, random_state=0).fit(X)
model = HiddenMarkovAutoencoder(
    2, n_states=6, hidden_layer_sizes=(64, 64), max_epochs=120, lr=5e-3, random_state=0
)
model.fit(X)


def agreement(chain):
    """Return the normalised mutual information of states and units."""
    found = np.concatenate(chain.predict(X_test))
    return normalized_mutual_info_score(np.concatenate(units_test), found)


for name, chain in (("Gaussian chain", gaussian), ("autoencoder", model)):
    print(f"{name}: {chain.score(X_test):.2f} nats per row, agreement {agreement(chain):.2f}")

# %%
# The units of one speaker
# ------------------------
# The states of a held-out sequence, and their probabilities. Bands of one colour are repetitions of
# one unit.

StatePathDisplay.from_estimator(model, X_test[0], features=[0, 1, 2])

# %%
# The latent plane
# ----------------
# The posterior means of the held-out rows, with the colour of their true unit. Each unit is one
# streak along the speakers.

Z = np.concatenate(model.transform(X_test))
_, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.scatter(*Z.T, c=np.concatenate(units_test), cmap="tab10", s=8)
axes.set(xlabel="first latent dimension", ylabel="second")

# %%
# The order of the units
# ----------------------

TransitionDisplay.from_estimator(model)
plt.show()
