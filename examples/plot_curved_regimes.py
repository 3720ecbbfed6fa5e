"""
Can regimes on a curved surface be found?
=========================================

The rows of a recording often lie near a curved surface, and their place on it depends on a regime
that lasts. This example finds the regimes without labels: :class:`skvae.HiddenMarkovAutoencoder`
has a continuous latent vector for the place of a row and a discrete state for its regime.
"""

# %%
# The data
# --------
# A row is f(z) with noise. z has two dimensions and is drawn from the Gaussian of one of four
# regimes, which stays with a probability of 0.95; f bends the plane into eight features by sines.
# There are 80 sequences to learn and 20 held-out ones.

# sphinx_gallery_thumbnail_number = 2
import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from skvae import EMHiddenMarkov, HiddenMarkovAutoencoder
from skvae.inspection import StatePathDisplay, TransitionDisplay

surface = np.random.default_rng(7)
directions, phases = surface.normal(size=(2, 8)), surface.uniform(0, 2 * np.pi, size=8)
centres = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])
scales = np.array([[0.7, 0.2], [0.2, 0.7], [0.4, 0.4], [0.6, 0.3]])


def record(rng, n_steps=50):
    """Return the rows of a sequence, and their regimes."""
    path = [rng.integers(4)]
    for _ in range(n_steps - 1):
        change = rng.uniform() > 0.95
        path.append((path[-1] + change * rng.integers(1, 4)) % 4)
    z = centres[path] + scales[path] * rng.normal(size=(n_steps, 2))
    x = np.sin(z @ directions + phases)
    return x + 0.05 * rng.normal(size=x.shape), np.array(path)


rng = np.random.default_rng(1)
X, regimes = zip(*[record(rng) for _ in range(100)], strict=True)
X, X_test, regimes = list(X[:80]), list(X[80:]), np.concatenate(regimes[80:])

# %%
# Two models
# ----------
# Both have four states. A Gaussian chain has one Gaussian of the features for each; the autoencoder
# has one of the latent vector, and its decoder learns the surface. Agreement is the normalised
# mutual information of states and regimes.

gaussian = EMHiddenMarkov(4, random_state=0).fit(X)
model = HiddenMarkovAutoencoder(
    2, n_states=4, hidden_layer_sizes=(64, 64), max_epochs=30, lr=1e-2, random_state=0
)
model.fit(X)
for name, chain in (("Gaussian chain", gaussian), ("autoencoder", model)):
    agreement = normalized_mutual_info_score(regimes, np.concatenate(chain.predict(X_test)))
    print(f"{name}: {chain.score(X_test):.2f} nats per row, agreement {agreement:.2f}")

# %%
# A held-out sequence
# -------------------
# Its states, and their probabilities.

StatePathDisplay.from_estimator(model, X_test[0], features=[0, 1])
plt.suptitle("A held-out sequence and its states")

# %%
# The latent plane
# ----------------
# The posterior means of the held-out rows, with the colour of their true regime.

Z = np.concatenate(model.transform(X_test))
_, axes = plt.subplots(figsize=(5, 4), layout="constrained")
axes.scatter(*Z.T, c=regimes, cmap="tab10", s=8)
axes.set(xlabel="first latent dimension", ylabel="second", title="Held-out rows and their regimes")

# %%
# The transitions
# ---------------

TransitionDisplay.from_estimator(model)
plt.title("Transitions")
plt.show()
