"""Write the files of this folder: fitted estimators of each kind, and the scores of their rows.

Run in a checkout of the version whose files are to be kept: ``python make.py FOLDER``.
``tests/test_earlier_files.py`` reads them with the code as it is now.
"""

import json
import pickle
import sys
import warnings
from pathlib import Path

import numpy as np
import skops.io

from skvae import BayesianMixtureSVI, EMGaussianMixture, EMHiddenMarkov, VariationalAutoencoder
from skvae.hmm import ColumnEmission, GaussianEmission, PoissonEmission
from skvae.inspection import elbo_decomposition
from skvae.storage import encoded  # skvae.stored_state in the version of these files
from tests.test_storage import Box, Pair

rng = np.random.default_rng(0)
labels = np.repeat([0, 1, 0, 1], 15)
REAL = 5.0 * labels[:, None] + rng.normal(size=(60, 2))
COUNTS = rng.poisson(1.0 + 6.0 * labels[:, None], size=(60, 2)).astype(float)
FLAGS = (rng.uniform(size=(60, 2)) < 0.2 + 0.6 * labels[:, None]).astype(float)
MIXED = np.column_stack([REAL[:, 0], COUNTS[:, 0]])

columns = ColumnEmission([("size", GaussianEmission(), [0]), ("number", PoissonEmission(), [1])])
ESTIMATORS = {
    "mixture": (EMGaussianMixture(2, random_state=0), REAL),
    "bayesian": (BayesianMixtureSVI(3, random_state=0), REAL),
    "autoencoder": (VariationalAutoencoder(1, max_epochs=2, random_state=0), REAL),
    **{
        f"chain_{emission}": (EMHiddenMarkov(2, emission=emission, random_state=0), X)
        for emission, X in {
            "gaussian": REAL,
            "gaussian_mixture": REAL,
            "student_t": REAL,
            "poisson": COUNTS,
            "categorical": COUNTS,
            "bernoulli": FLAGS,
        }.items()
    },
    "chain_column": (EMHiddenMarkov(2, emission=columns, random_state=0), MIXED),
}
SHARED = np.asfortranarray(np.arange(6.0).reshape(2, 3))
STATE = {
    "box": Box(Pair("a", SHARED), np.float64(0.1 + 0.2)),
    "bounds": [1.5, float("-inf")],
    "again": (SHARED, np.broadcast_to(np.arange(3.0), (4, 3))),
}


def write(folder):
    """Fit all, and write them to a folder."""
    expected = {}
    for name, (estimator, X) in ESTIMATORS.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            estimator.fit(X)
        (folder / f"{name}.pickle").write_bytes(pickle.dumps(estimator))
        skops.io.dump(estimator, folder / f"{name}.skops")
        expected[name] = {"X": X.tolist(), "score_samples": estimator.score_samples(X).tolist()}
    chain, mixture = ESTIMATORS["chain_gaussian"][0], ESTIMATORS["bayesian"][0]
    results = {
        "forecast": chain.forecast(REAL, 3),
        "interval": mixture.credible_interval(),
        "decomposition": elbo_decomposition(chain, REAL),
    }
    (folder / "results.pickle").write_bytes(pickle.dumps(results))
    ESTIMATORS["autoencoder"][0].save(folder / "autoencoder.safetensors")
    (folder / "state.npz").write_bytes(encoded(STATE))
    (folder / "expected.json").write_text(json.dumps(expected))


if __name__ == "__main__":
    write(Path(sys.argv[1]))
