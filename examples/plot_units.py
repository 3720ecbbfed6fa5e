"""
Can units of speech be found without labels?
============================================

A language is made of few units, which speakers say in different ways. This example finds the units
in sequences without any label: :class:`skvae.HiddenMarkovAutoencoder` has a continuous latent
vector for the manner of a row and a discrete state for the part of a unit.
"""

# %%
# The data
# --------
# A unit is a pattern of three places in a plane of articulation, passed in order; each holds for
# one to three rows. Six units follow each other at random. The third coordinate is the speaker,
# another one in each sequence. Sines of mixtures of the three coordinates are the twelve features:
# each speaker bends the map from the plane to the features in another way.

# sphinx_gallery_thumbnail_number = 3
import matplotlib.pyplot as plt
import numpy as np
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import normalized_mutual_info_score

from skvae import EMHiddenMarkov, HiddenMarkovAutoencoder
from skvae.inspection import StatePathDisplay

rng = np.random.default_rng(0)
directions, phases = 0.6 * rng.normal(size=(3, 12)), rng.uniform(0, 2 * np.pi, size=12)
places = rng.permutation([(0.8 * i, 0.8 * j) for i in range(-2, 3) for j in range(-2, 2)])[:18]


def speak(distortion, n_said=16):
    """Return the rows of one speaker, and the part of a unit that each belongs to."""
    said = 3 * rng.integers(6, size=n_said)
    path = (said[:, None] + np.arange(3)).ravel()
    path = np.repeat(path, rng.integers(1, 4, size=len(path)))
    speaker = distortion * rng.uniform(-1, 1)
    z = np.column_stack([places[path], np.full(len(path), speaker)])
    x = np.sin((z + 0.1 * rng.normal(size=z.shape)) @ directions + phases)
    return x + 0.1 * rng.normal(size=x.shape), path


def record(distortion):
    """Return 60 sequences to learn, 20 held-out ones, and the parts of these."""
    X, parts = zip(*[speak(distortion) for _ in range(80)], strict=True)
    return list(X[:60]), list(X[60:]), np.concatenate(parts[60:])


# %%
# Speakers hide the units
# -----------------------
# Agreement is the normalised mutual information of the states of held-out rows and the true parts
# of units. A Gaussian chain finds the parts if there is one speaker only; of many speakers some of
# its states hold a part as some speakers say it, and others hold several parts.


def agreement(states, parts):
    """Return the normalised mutual information of states and parts."""
    return normalized_mutual_info_score(parts, np.concatenate(states))


for name, distortion in (("one speaker", 0.0), ("many speakers", 1.0)):
    X, X_test, parts = record(distortion)
    gaussian = EMHiddenMarkov(18, n_init=2, random_state=0).fit(X)
    print(f"Gaussian chain, {name}: agreement {agreement(gaussian.predict(X_test), parts):.2f}")

# %%
# An autoencoder of sequences
# ---------------------------
# Its decoder learns the bent map once for all states, so that a speaker is a place in the latent
# space. The states are Gaussians there, long ones along the speakers.

model = HiddenMarkovAutoencoder(
    3, n_states=18, hidden_layer_sizes=(64, 64), max_epochs=60, lr=5e-3, random_state=0
)
states = model.fit(X).predict(X_test)
print(f"autoencoder: agreement {agreement(states, parts):.2f}")

# %%
# From parts to units
# -------------------
# The parts of a unit follow each other, and units follow each other at random. Two states are of
# one unit if more than half of the changes from one lead to the other, and more than half of the
# changes to that one come from it.

changes = np.zeros((18, 18))
for path in states:
    np.add.at(changes, (path[:-1], path[1:]), 1)
np.fill_diagonal(changes, 0)
links = (changes > changes.sum(axis=1, keepdims=True) / 2) & (changes > changes.sum(axis=0) / 2)
n_units, unit = connected_components(links, directed=False)
print(f"{n_units} units, agreement {agreement([unit[path] for path in states], parts // 3):.2f}")

order = np.argsort(unit, kind="stable")
_, axes = plt.subplots(figsize=(5, 4), layout="constrained")
image = axes.imshow(model.transmat_[order][:, order], cmap="Blues", vmin=0)
plt.colorbar(image, ax=axes, label="transition probability")
axes.set(xlabel="to state", ylabel="from state", title="States in the order of their units")

# %%
# One speaker
# -----------
# The states of a held-out sequence, and their probabilities.

StatePathDisplay.from_estimator(model, X_test[0][:60], features=[0, 1])
plt.suptitle("One speaker and the states")

# %%
# The latent space
# ----------------
# The posterior means of the held-out rows along their first two principal axes, with the colour of
# the true unit.

Z = np.concatenate(model.transform(X_test))
Z = (Z - Z.mean(axis=0)) @ np.linalg.svd(Z - Z.mean(axis=0), full_matrices=False)[2].T
_, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.scatter(Z[:, 0], Z[:, 1], c=parts // 3, cmap="tab10", s=6)
axes.set(xlabel="first principal axis", ylabel="second", title="Held-out rows and their units")
plt.show()
