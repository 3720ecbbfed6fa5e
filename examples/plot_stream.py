"""
Can a model learn from a stream?
================================

The rows of a stream cannot all be stored. ``partial_fit`` of :class:`skvae.BayesianMixtureSVI`
reads each batch once: without ``total_samples`` the posterior after a batch is the prior of the
next, so the information is kept without the rows. Here 12,000 rows come in batches of 200. Each
batch is scored before ``partial_fit``, so that every score is on new rows.
"""

# %%
# The stream
# ----------
# Five clusters of different sizes and shapes.

import matplotlib.pyplot as plt
import numpy as np

from skvae import BayesianMixtureSVI

rng = np.random.default_rng(0)
centers = np.array([[0, 0], [6, 0], [0, 6], [6, 6], [3, -6]], dtype=float)
factors = rng.normal(scale=0.4, size=(5, 2, 2)) + np.eye(2)
shares = np.array([0.3, 0.25, 0.2, 0.15, 0.1])


def batch(n_rows=200):
    """Return the next rows of the stream."""
    labels = rng.choice(5, size=n_rows, p=shares)
    noise = rng.normal(size=(n_rows, 2))
    return centers[labels] + np.einsum("nij,nj->ni", factors[labels], noise)


# %%
# The fit to the stream
# ---------------------
# The start is made from the first batch, with ten components. For comparison a mixture is fitted to
# all rows so far, at every tenth batch. The width of the 95 % credible intervals of the means shows
# the remaining uncertainty.

stream = BayesianMixtureSVI(10, random_state=0)
seen, scores, widths = [batch()], [], []
stream.partial_fit(seen[0])
kept_scores, kept_at = [], []
for number in range(1, 60):
    rows = batch()
    scores.append(stream.score(rows))
    if number % 10 == 0:
        kept = BayesianMixtureSVI(10, random_state=0, max_iter=300).fit(np.concatenate(seen))
        kept_scores.append(kept.score(rows))
        kept_at.append(number)
    stream.partial_fit(rows)
    seen.append(rows)
    lower, upper = stream.credible_interval(0.95).means
    largest = np.argsort(stream.weights_)[-5:]
    widths.append((upper - lower)[largest].mean())

X_new = np.concatenate([batch() for _ in range(20)])
everything = BayesianMixtureSVI(10, random_state=0, max_iter=300).fit(np.concatenate(seen))
print(
    f"seen once:   {stream.score(X_new):.4f} nats per new row, "
    f"{stream.n_effective_components_} components hold rows"
)
print(
    f"kept whole:  {everything.score(X_new):.4f} nats per new row, "
    f"{everything.n_effective_components_} components hold rows"
)

# %%
# The scores
# ----------
# The score of each batch before its ``partial_fit``, and of the model fitted to all rows so far:

numbers = np.arange(1, 60)
_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
ax.plot(numbers, scores, ".-", label="seen once")
ax.plot(kept_at, kept_scores, "s", markerfacecolor="none", label="kept whole")
ax.set(xlabel="batch", ylabel="nats per row", title="Scores before learning")
ax.legend(loc="lower right")

# %%
# The uncertainty
# ---------------

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
root = widths[-1] * np.sqrt(60 / (numbers + 1))
ax.loglog(200 * (numbers + 1), widths, label="mean width of 95 % intervals")
ax.loglog(200 * (numbers + 1), root, "--", color="0.5", label="one over the square root")
ax.set(xlabel="rows so far", ylabel="width", title="Remaining uncertainty")
ax.legend()
plt.show()

# %%
# Result
# ------
# The score of a batch of 200 rows has an error of about 0.1 nats, so the points scatter; from the
# tenth batch on the two models cannot be distinguished. The width of the intervals is proportional
# to one over the square root of the number of rows, the dashed line, so all rows have their full
# weight.
