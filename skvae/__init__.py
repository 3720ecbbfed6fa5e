"""Latent-variable models for scikit-learn, fitted by ascending one objective.

The score of every model is the log-likelihood in nats per row of X. So one model can replace
another, and :func:`skvae.compare` compares them on held-out rows.

Public names are loaded on first use: ``import skvae`` itself imports nothing but this file.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from skvae import datasets, grammar, hmm, inference, inspection, tasks, vae
    from skvae.comparison import compare
    from skvae.deep_chain import CTCTranscriber, EGHiddenMarkov, HiddenMarkovAutoencoder
    from skvae.grammar import EMContextFreeGrammar
    from skvae.hmm import EMHiddenMarkov
    from skvae.mixture import BayesianMixtureSVI, EMGaussianMixture
    from skvae.vae import VariationalAutoencoder

__version__ = "1.0.0"

# The module of each public name. Importing a submodule binds its name in the package, so no module
# may have the name of a function here: `compare` is in `skvae.comparison`, because a module
# `skvae.compare` would replace the function `skvae.compare` when it is imported.
_OBJECTS = {
    "BayesianMixtureSVI": "skvae.mixture",
    "CTCTranscriber": "skvae.deep_chain",
    "EGHiddenMarkov": "skvae.deep_chain",
    "EMContextFreeGrammar": "skvae.grammar",
    "EMGaussianMixture": "skvae.mixture",
    "EMHiddenMarkov": "skvae.hmm",
    "HiddenMarkovAutoencoder": "skvae.deep_chain",
    "VariationalAutoencoder": "skvae.vae",
    "compare": "skvae.comparison",
}
_MODULES = ("datasets", "grammar", "hmm", "inference", "inspection", "tasks", "vae")

__all__ = [
    "BayesianMixtureSVI",
    "CTCTranscriber",
    "EGHiddenMarkov",
    "EMContextFreeGrammar",
    "EMGaussianMixture",
    "EMHiddenMarkov",
    "HiddenMarkovAutoencoder",
    "VariationalAutoencoder",
    "compare",
    "datasets",
    "grammar",
    "hmm",
    "inference",
    "inspection",
    "tasks",
    "vae",
]


def __getattr__(name):
    if name in _OBJECTS:
        value = getattr(import_module(_OBJECTS[name]), name)
    elif name in _MODULES:
        value = import_module(f"skvae.{name}")
    else:
        raise AttributeError(f"module 'skvae' has no attribute {name!r}")
    globals()[name] = value  # the next look-up does not call this function
    return value


def __dir__():
    return sorted({*globals(), *__all__})
