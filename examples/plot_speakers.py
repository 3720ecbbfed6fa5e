"""
Which of nine men is speaking?
==============================

Nine men say the same two vowels, and the speaker is to be recognised. An utterance is a sequence
of 7 to 29 frames. :class:`skvae.tasks.DensityClassifier` fits a hidden Markov model to the
utterances of each speaker, and Bayes' rule gives the probabilities of the speakers.
"""

# %%
# Training
# --------
# A list of sequences has one label each. There are 30 utterances of each speaker.

import matplotlib.pyplot as plt
import numpy as np

from skvae import EMGaussianMixture, EMHiddenMarkov
from skvae.datasets import load_japanese_vowels
from skvae.tasks import DensityClassifier

X, y = load_japanese_vowels(return_X_y=True)
X_test, y_test = load_japanese_vowels(subset="test", return_X_y=True)
chain = EMHiddenMarkov(5, covariance_type="diag", tol=0.01, random_state=0)
classifier = DensityClassifier(chain).fit(X, y)
print(f"{classifier.score(X_test, y_test):.1%} of {len(y_test)} other utterances")

# %%
# The first frames
# ----------------
# The log-density of an utterance is a sum over its frames, so a sentence that is cut off can be
# classified too. The line is the accuracy for any one frame of an utterance, by one mixture for
# each speaker and a table of rows; the first frame is a harder one.

rows, labels = np.concatenate(X), np.repeat(y, [len(x) for x in X])
frames = DensityClassifier(EMGaussianMixture(5, random_state=0, tol=0.01)).fit(rows, labels)
single = frames.score(np.concatenate(X_test), np.repeat(y_test, [len(x) for x in X_test]))

lengths = np.arange(1, 16, 2)
accuracies = [classifier.score([x[:n] for x in X_test], y_test) for n in lengths]
print(f"after one frame {accuracies[0]:.0%}, after seven {accuracies[3]:.0%}")

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
ax.plot(lengths, accuracies, marker="o", label="one chain a speaker")
ax.axhline(single, color="black", linestyle="--", label="any one frame, by mixtures")
ax.set(xlabel="frames heard", ylabel="accuracy", ylim=(0.8, 1.0))
ax.legend(loc="lower right")
plt.show()

# %%
# Certainty
# ---------
# The log-odds of the most probable speaker against the second are the evidence in nats. In a chain
# the frames are independent given the states, which real ones are not: the log-odds are too large,
# and some utterances are wrong by tens of nats. Their order is still useful. Where they are low,
# more frames are needed, or a person.

log_proba = np.sort(classifier.predict_log_proba(X_test), axis=1)
margin = log_proba[:, -1] - log_proba[:, -2]
wrong = classifier.predict(X_test) != y_test
print(f"median log-odds: {np.median(margin[~wrong]):.0f} where right, ", end="")
print(f"{np.median(margin[wrong]):.0f} where wrong")

figure, ax = plt.subplots(figsize=(6, 3.6), layout="constrained")
bins = np.geomspace(1, 1000, 25)
ax.hist([margin[~wrong], margin[wrong]], bins=bins, stacked=True, label=["right", "wrong"])
ax.set(xscale="log", xlabel="log-odds of the two best speakers, nats", ylabel="utterances")
ax.legend()
plt.show()
