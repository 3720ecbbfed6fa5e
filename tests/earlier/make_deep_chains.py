"""Write the files of deep models of sequences: fitted estimators, and what they give.

Run in a checkout of the version whose files are to be kept: ``python make_deep_chains.py FOLDER``.
``tests/test_earlier_files.py`` reads them with the code as it is now.
"""

import json
import pickle
import sys
import warnings
import zipfile
from pathlib import Path

import numpy as np
import skops.io

from skvae import CTCTranscriber, EGHiddenMarkov, HiddenMarkovAutoencoder

rng = np.random.default_rng(0)
states = np.repeat([0, 1, 0, 1], 15)
X = [3.0 * states[:, None] + rng.normal(size=(60, 2)) for _ in range(4)]
Y = ["abab"] * 4
SMALL = {"max_epochs": 2, "hidden_layer_sizes": (4,), "random_state": 0}
FULL = {"likelihood_params": {"covariance": "full"}}
ESTIMATORS = {
    "eg_chain": EGHiddenMarkov(2, history=1, transition="history", **FULL, **SMALL),
    "chain_autoencoder": HiddenMarkovAutoencoder(1, n_states=2, **SMALL),
    "transcriber": CTCTranscriber(context=1, **SMALL),
}


def results(name, model, X):
    """Return what a model gives by its weights alone, without draws."""
    if name == "chain_autoencoder":
        return [model.transmat_, model.state_means_, model.inverse_transform([[0.0], [1.0]])]
    if name == "transcriber":
        return model.predict_log_proba(X)
    return model.score_samples(X)


def write(folder):
    """Fit all, and write them to a folder."""
    expected = {}
    for name, model in ESTIMATORS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model.fit(X, *([Y] if name == "transcriber" else []))
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(model))
        file = folder / f"{name}.skops"
        skops.io.dump(model, file, compression=zipfile.ZIP_DEFLATED, compresslevel=9)
        model.save(folder / f"{name}.safetensors")
        found = results(name, model, X)
        expected[name] = [part.tolist() for part in found]
    given = {"X": [part.tolist() for part in X], "expected": expected}
    (folder / "expected_deep_chains.json").write_text(json.dumps(given))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
