"""
Can lines of digits be read without a mark where a digit begins?
================================================================

A transcriber learns from lines of handwriting and their texts. Nobody has marked the columns of a
digit: digits have several widths, and gaps of several sizes. :class:`skvae.CTCTranscriber` sums
over all ways to place the labels in the columns, exactly, and its alignment shows the places
afterwards.
"""

# %%
# Lines of digits
# ---------------
# Three to six of scikit-learn's digits, stretched to 5 to 12 columns each, with gaps of up to four
# columns and noise. A line is an array of columns of eight pixels; its labels are a string. The
# digits of held-out lines are not in any training line.

from itertools import groupby

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skvae import CTCTranscriber

digits = load_digits()
rng = np.random.default_rng(0)
order = rng.permutation(len(digits.images))


def line_of(chosen):
    """Return the columns of a line of digits."""
    parts = [np.zeros((rng.integers(0, 5), 8))]
    for image in digits.images[chosen] / 16:
        at = np.linspace(0, 7, rng.integers(5, 13))
        parts.append(np.column_stack([np.interp(at, np.arange(8), row) for row in image]))
        parts.append(np.zeros((rng.integers(0, 5), 8)))
    columns = np.concatenate(parts)
    return columns + rng.normal(0, 0.1, columns.shape)


def lines_of(numbers, n_lines):
    """Return lines of some of the digits, and their texts."""
    chosen = [rng.choice(numbers, rng.integers(3, 7)) for _ in range(n_lines)]
    texts = ["".join(map(str, digits.target[one])) for one in chosen]
    return [line_of(one) for one in chosen], texts


X, y = lines_of(order[:1200], 1500)
held_out, texts = lines_of(order[1200:], 200)

# %%
# The fit
# -------
# The network reads a window of 15 columns. A tenth of the lines is kept aside to stop in time.
# ``score`` is ln p(y | x) per label, and exact: a label of probability 0.9 has −0.1 nats.

ctc = CTCTranscriber(context=7, max_epochs=20, random_state=0).fit(X, y)
print(f"{ctc.n_iter_} epochs; score of the held-out lines: {ctc.score(held_out, texts):.3f} nats")

# %%
# Reading
# -------
# The most probable symbol of each column does not give the most probable text, which has many
# paths: the search keeps the ten most probable beginnings of a text. A trained network is certain
# in most columns, so that both read most lines alike.


def greedy(line):
    """Return the text of the most probable symbols of the columns."""
    best = ctc.predict_log_proba(line).argmax(axis=1)
    return "".join(ctc.classes_[k - 1] for k, _ in groupby(best) if k)


found = ctc.predict(held_out)
paths = [greedy(line) for line in held_out]
for name, read in (("beam search", found), ("most probable symbols", paths)):
    right = np.mean([one == text for one, text in zip(read, texts, strict=True)])
    print(f"{name}: {right:.0%} of the held-out lines without an error")
for line, one, other in zip(held_out, found, paths, strict=True):
    if one != other:
        gain = ctc.score([line], [one]) * len(one) - ctc.score([line], [other]) * len(other)
        print(f"{one} instead of {other}: {gain:.2f} nats more")

# %%
# Places of the labels
# --------------------
# The probabilities are spikes: between labels the blank is certain, and so it is inside of a digit.
# The alignment gives each label its columns on the most probable path.

line, text = held_out[0], texts[0]
proba, labels = ctc.predict_proba(line), ctc.align([line], [text])[0]
_, (above, below) = plt.subplots(2, 1, sharex=True, figsize=(6, 4), layout="constrained")
above.imshow(line.T, cmap="gray_r", aspect="auto")
above.set(yticks=[], title=f"text {text}, read as {ctc.predict([line])[0]}")
below.plot(proba[:, 0], color="0.7", label="blank")
for k, name in enumerate(ctc.classes_, start=1):
    if name in text:
        below.plot(proba[:, k], label=name)
for t in np.flatnonzero(labels != None):  # noqa: E711
    above.text(t, 8.2, labels[t], ha="center", va="top", fontsize=8)
below.set(xlabel="column", ylabel="probability")
below.legend(ncols=2, fontsize=8)
plt.show()
