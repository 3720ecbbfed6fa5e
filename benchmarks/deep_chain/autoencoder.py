"""HiddenMarkovAutoencoder against Gaussian chains, an autoencoder of rows and neural emissions."""

import numpy as np
from sklearn.metrics import normalized_mutual_info_score

from benchmarks.bayesian.problem import quietly
from benchmarks.deep_chain.sequences import curved_regimes, spoken_units
from benchmarks.suite import Section
from benchmarks.timing import seconds
from skvae import EGHiddenMarkov, EMHiddenMarkov, HiddenMarkovAutoencoder, VariationalAutoencoder

CASES = {"curved-regimes": "curved-regimes", "spoken-units": "spoken-units"}
MAKERS = {"curved-regimes": (curved_regimes, 2, 4), "spoken-units": (spoken_units, 2, 6)}
SIZES = 4, 8, 16, 32  # states of a Gaussian chain to choose from
TRAINING = {"hidden_layer_sizes": (64, 64), "max_epochs": 150, "lr": 5e-3}


def measure(name, settings):
    """Return a row for each model: held-out score, agreement of its states with the truth, time."""
    make, n_latents, n_states = MAKERS[name]
    n_train, n_test = (10, 5) if settings.quick else (80, 40)
    X, _ = make(n_train, seed=settings.seed + 1)
    test, truth = make(n_test, seed=settings.seed + 2)
    truth, rows = np.concatenate(truth), []
    with quietly():
        for title, fit in _models(n_latents, n_states, settings).items():
            took, model = seconds(lambda fit=fit: fit(X))
            flat = isinstance(model, VariationalAutoencoder)
            held_out = np.concatenate(test) if flat else test
            found = model.predict(held_out)
            found = found if flat else np.concatenate(found)
            agreement = normalized_mutual_info_score(truth, found)
            score = model.score(held_out)
            rows.append([name, title, f"{score:.3f}", f"{agreement:.3f}", f"{took:.1f} s"])
    return rows


def _models(n_latents, n_states, settings):
    """Return a function that fits to sequences for each title."""
    training = dict(TRAINING, random_state=settings.seed)
    if settings.quick:
        training["max_epochs"] = 4
    vae = VariationalAutoencoder(
        n_latents, prior="mixture", n_prior_components=n_states, **training
    )
    eg = EGHiddenMarkov(n_states, random_state=settings.seed)
    ours = HiddenMarkovAutoencoder(n_latents, n_states=n_states, **training)
    return {
        "HiddenMarkovAutoencoder": ours.fit,
        f"EMHiddenMarkov, {n_states} states": lambda X: _gaussian(X, (n_states,), settings),
        "EMHiddenMarkov, best number of states": lambda X: _gaussian(X, SIZES, settings),
        "VariationalAutoencoder, mixture prior": lambda X: vae.fit(np.concatenate(X)),
        "EGHiddenMarkov without history": eg.fit,
    }


def _gaussian(X, sizes, settings):
    """Return the chain of the size with the best score of sequences kept aside, fitted to all."""
    n_aside = max(1, len(X) // 5)

    def chain(n):
        return EMHiddenMarkov(n, n_init=5, random_state=settings.seed)

    def aside(n):
        return chain(n).fit(X[n_aside:]).score(X[:n_aside])

    return chain(max(sizes, key=aside) if len(sizes) > 1 else sizes[0]).fit(X)


SECTION = Section(
    name="deep-chain-autoencoder",
    title="Autoencoders of sequences: held-out score, and agreement of states with the truth",
    method=(
        "80 sequences to learn, 40 held out; scores in nats per row, agreement as normalised "
        "mutual information of `predict` with the truth. Curved regimes: four regimes of two "
        "dimensions on a surface in eight. Spoken units: six units, each sequence with a speaker "
        "who shifts them on a surface in twelve dimensions. Autoencoders: two latent "
        "dimensions, hidden layers of 64 and 64, 150 epochs, lr 0.005. The best "
        "Gaussian chain has 4, 8, 16 or 32 states, full covariances, five starts, by a fifth of "
        "the sequences kept aside."
    ),
    columns=["data", "model", "score", "agreement", "fit"],
    cases=CASES,
    measure=measure,
)
