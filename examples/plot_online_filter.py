"""
When will the next eruption come?
=================================

A ranger wants to post the time of the next eruption of Old Faithful after each eruption.
``chain.online()`` is a filter that is given rows as they come: it keeps the probabilities of the
state of the last row, and nothing else, so that a row takes the same short time after a year as
after a minute. Its results are those of the whole sequence.
"""

# %%
# The data
# --------
# 299 eruptions in order, the wait for each and its duration in minutes (see
# :func:`skvae.datasets.load_geyser`). The chain is fitted to the first 150; the others are the
# stream. In the stream a clock fails now and then: a missing value is NaN, and a row without any
# value is a gap, over which the filter predicts. Both are exact.

import pickle
import time

import matplotlib.pyplot as plt
import numpy as np

from skvae import EMHiddenMarkov
from skvae.datasets import load_geyser

X = load_geyser().data
chain = EMHiddenMarkov(3, n_init=3, random_state=0).fit(X[:150])
stream = X[150:].copy()
rng = np.random.default_rng(0)
stream[rng.random(stream.shape) < 0.05] = np.nan
print(f"{np.isnan(stream).any(axis=1).sum()} of {len(stream)} rows miss a value")

# %%
# One row at a time
# -----------------
# Before each eruption the filter forecasts the wait for it, with an interval of 80 percent. Then it
# is given the row.

online = chain.online()
online.update(X[:150])  # it has seen these
waits, medians, lower, upper, surprise = [], [], [], [], []
for row in stream:
    forecast = online.forecast(1)
    low, high = forecast.interval(0.8)
    medians.append(forecast.quantile(0.5)[0, 0])
    lower.append(low[0, 0])
    upper.append(high[0, 0])
    surprise.append(-online.update(row[None]).log_p[0])
waits, medians, lower, upper = stream[:, 0], *map(np.array, (medians, lower, upper))

seen = ~np.isnan(waits)
inside = ((lower <= waits) & (waits <= upper))[seen].mean()
error = np.abs(medians - waits)[seen].mean()
constant = np.abs(np.median(X[:150, 0]) - waits)[seen].mean()
print(f"{inside:.0%} of the waits are in the interval of 80%")
print(f"mean error {error:.1f} minutes; of the median of the past {constant:.1f} minutes")

steps = np.arange(len(stream))
_, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
ax.fill_between(steps, lower, upper, step="mid", alpha=0.3, label="interval of 80%")
ax.plot(steps, medians, drawstyle="steps-mid", linewidth=0.8, label="median")
ax.plot(steps, waits, "k.", markersize=4, label="wait")
ax.set(xlim=(0, 60), ylim=(30, 110), xlabel="eruption", ylabel="wait, minutes")
ax.set_title("Each wait, forecast before it")
ax.legend(ncols=3, loc="lower left")

# %%
# The surprise −ln p(row | rows before) marks eruptions that do not fit.

_, ax = plt.subplots(figsize=(8, 2.6), layout="constrained")
ax.plot(steps, surprise, "k", linewidth=0.8)
ax.set(xlabel="eruption", ylabel="surprise, nats", title="Surprise")

# %%
# The same as the whole
# ---------------------
# The results do not depend on how the stream is cut, and are those of ``score_samples``. A filter
# can be pickled and continues where it was. ``reset()`` begins a new sequence; two streams at the
# same time need a filter each.

whole = chain.score_samples(np.concatenate([X[:150], stream]))[150:]
print(f"largest difference to the whole: {np.abs(whole + surprise).max():.1e} nats")

later = pickle.loads(pickle.dumps(online))
start = time.perf_counter()
later.update(np.tile(stream, (100, 1)))
elapsed = time.perf_counter() - start
print(f"{1e6 * elapsed / (100 * len(stream)):.0f} microseconds a row in one block")

plt.show()

# %%
# Result
# ------
# The error is about half of that of a constant forecast, and the intervals hold about as many waits
# as they should. An alarm would watch the surprise.
