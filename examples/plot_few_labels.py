"""
How many labels buy how much accuracy?
======================================

A counter is photographed again and again, and its digit is to be read. A few photographs have a
label. A classifier learns from these alone. :class:`skvae.EMHiddenMarkov` learns from all of them:
``fit(X, states=...)`` takes the known states, and −1 where a state is unknown. Known states are
evidence, and EM is exact given them.
"""

# %%
# The photographs
# ---------------
# Images of digits are those of :func:`sklearn.datasets.load_digits`, 8 by 8 pixels, reduced to ten
# principal components. Their order is simulated: the digit goes up by one with probability 0.85,
# stays with 0.1, and sometimes jumps. 1,500 photographs are for learning. The 1,000 for the test
# are made of other images, which are not in any photograph for learning.

import matplotlib.pyplot as plt
import numpy as np
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix

from skvae import EMHiddenMarkov

digits = load_digits()
rng = np.random.default_rng(0)
transmat = 0.85 * np.roll(np.eye(10), 1, axis=1) + 0.1 * np.eye(10) + 0.005
for_learning = rng.random(len(digits.target)) < 0.7


def simulate(n_rows, images):
    """Return the digits of photographs in time order, and their pixels."""
    states = [0]
    while len(states) < n_rows:
        states.append(rng.choice(10, p=transmat[states[-1]]))
    chosen = [rng.choice(images[digits.target[images] == k]) for k in states]
    return np.array(states), digits.data[chosen]


truth, pixels = simulate(1500, np.flatnonzero(for_learning))
truth_test, pixels_test = simulate(1000, np.flatnonzero(~for_learning))
pca = PCA(10, random_state=0).fit(pixels)
X, X_test = pca.transform(pixels), pca.transform(pixels_test)

# %%
# More and more labels
# --------------------
# The first ten labels are one of each digit; further ones are at random. With known states the
# states of the chain are the digits. Without any label they have no names: for the first line they
# get the best possible ones, which in practice needs labels too.


def labelled(n_labels, seed):
    """Return the rows that have a label."""
    rng = np.random.default_rng(seed)
    one_each = [rng.choice(np.flatnonzero(truth == k)) for k in range(10)]
    others = rng.permutation(np.setdiff1d(np.arange(len(truth)), one_each))
    return np.concatenate([one_each, others[: n_labels - 10]])


def chain():
    """Return a new chain: all digits have one covariance."""
    return EMHiddenMarkov(10, covariance_type="tied", random_state=0)


unnamed = chain().fit(X).predict(X_test)
counts = confusion_matrix(truth_test, unnamed, labels=range(10))
best = counts[linear_sum_assignment(-counts)].sum() / len(truth_test)
print(f"   0 labels: chain {best:.3f} with the best names")

sizes, seeds = (10, 20, 50, 100, 200, 500), range(3)
found = np.zeros((2, len(sizes), len(seeds)))
for i, n_labels in enumerate(sizes):
    for j, seed in enumerate(seeds):
        rows = labelled(n_labels, seed)
        states = np.full(len(X), -1)
        states[rows] = truth[rows]
        with_all = chain().fit(X, states=states)
        alone = LogisticRegression(max_iter=2000).fit(X[rows], truth[rows])
        for model, accuracies in zip((with_all, alone), found, strict=True):
            accuracies[i, j] = (model.predict(X_test) == truth_test).mean()
    means = found[:, i].mean(axis=1)
    print(f"{n_labels:4} labels: chain {means[0]:.3f}, classifier {means[1]:.3f}")

counted = chain().fit(X, states=truth)
print(f"1500 labels: chain {(counted.predict(X_test) == truth_test).mean():.3f}")

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
for accuracies, name, color in zip(found, ("chain", "classifier"), ("C0", "C1"), strict=True):
    ax.plot(sizes, accuracies, ".", color=color)
    ax.plot(sizes, accuracies.mean(axis=1), color=color, label=name)
ax.set(xscale="log", xlabel="labels among 1,500 rows", ylabel="accuracy on new photographs")
ax.set_xticks(sizes, sizes)
ax.legend()
plt.show()

# %%
# Result
# ------
# Fifty labels among 1,500 rows give the chain the accuracy of 1,500. The classifier does not reach
# it with ten times as many labels, as it reads each photograph alone: the order of the digits
# carries information, and the rows without labels show it. With ten or twenty labels much depends
# on which rows have them, as EM may end at a poor maximum.
