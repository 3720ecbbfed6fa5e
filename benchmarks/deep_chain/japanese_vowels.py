"""JapaneseVowels: nats a row of held-out utterances, and the speakers by one model each.

Kudo, Toyama & Shimbo (1999), 270 and 370 utterances of nine speakers.
"""

import time

from benchmarks.suite import Section
from skvae import EGHiddenMarkov, EMHiddenMarkov, HiddenMarkovAutoencoder
from skvae.datasets import load_japanese_vowels
from skvae.tasks import DensityClassifier

FULL = {"history": 1, "likelihood_params": {"covariance": "full"}, "random_state": 0}
CASES = {
    "EMHiddenMarkov, 24 states": (EMHiddenMarkov(24, random_state=0), None),
    "HiddenMarkovAutoencoder, 24 states": (
        HiddenMarkovAutoencoder(8, n_states=24, max_epochs=120, lr=3e-3, random_state=0),
        None,
    ),
    "linear autoregression": (EGHiddenMarkov(1, **FULL), None),
    "EGHiddenMarkov, 4 states": (EGHiddenMarkov(4, **FULL), 21.5),
    "EGHiddenMarkov, 4 states, 64 units": (
        EGHiddenMarkov(4, hidden_layer_sizes=(64,), **FULL),
        21.5,
    ),
    "speakers, 1 state": (EGHiddenMarkov(1, max_epochs=30, **FULL), 0.97),
    "speakers, 2 states": (EGHiddenMarkov(2, max_epochs=30, **FULL), 0.97),
}


def measure(case, _settings):
    """Return the row of a case."""
    model, target = case
    (X, y), (X_test, y_test) = (
        load_japanese_vowels(subset=subset, return_X_y=True) for subset in ("train", "test")
    )
    n_states = getattr(model, "n_states", model.n_components)
    name = f"{type(model).__name__}, K={n_states}"
    if getattr(model, "hidden_layer_sizes", ()):
        name += f", {model.hidden_layer_sizes[0]} units"
    begin = time.process_time()
    if target is None or target > 1:
        value = model.fit(X).score(X_test)
        text = f"{value:.2f} nats"
    else:
        value = DensityClassifier(model).fit(X, y).score(X_test, y_test)
        text, name = f"{value:.1%} of speakers", f"{name}, one for each speaker"
    seconds = f"{time.process_time() - begin:.1f} s"
    reached = "–" if target is None else f"≥ {target}: {'reached' if value >= target else 'missed'}"
    return [(name, text, reached, seconds)]


SECTION = Section(
    "japanese-vowels",
    "JapaneseVowels: held-out nats a row, and speakers",
    "Fitted to 270 utterances, scored on 370 others, in the units of the data; full covariances, "
    "one earlier row in EGHiddenMarkov. Speakers: one model for each, the highest log-likelihood "
    "decides. Processor time of all fits and scores, one thread.",
    ("model", "held-out", "target", "time"),
    CASES,
    measure,
)
