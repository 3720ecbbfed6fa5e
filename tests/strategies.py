"""Hypothesis strategies: problems on which float64 EM is well-conditioned."""

import numpy as np
from hypothesis import strategies as st

from tests.problems import COVARIANCE_TYPES, blobs, knock_out, start

seeds = st.integers(0, 10_000)
covariance_types = st.sampled_from(COVARIANCE_TYPES)


@st.composite
def well_posed(draw):
    """(X, constructor parameters, the start as a Mixture, sample_weight or None, reg_covar).

    X may have missing values; every component starts from a broad covariance, so that it keeps
    more effective rows than features after a step.
    """
    seed = draw(seeds)
    n_features = draw(st.integers(1, 5))
    n_components = draw(st.integers(1, 4))
    n_samples = draw(st.integers(40, 90))
    covariance_type = draw(covariance_types)
    X = blobs(n_samples, n_features, n_components, seed=seed, separation=draw(st.floats(0.0, 3.0)))
    X = X + draw(st.sampled_from([0.0, 1.0, 1000.0]))
    if draw(st.booleans()):
        X = knock_out(X, draw(st.floats(0.05, 0.4)), seed=seed)
    sample_weight = None
    if draw(st.booleans()):
        sample_weight = np.random.default_rng(seed).uniform(0.1, 5.0, size=n_samples)
    parameters, mixture = start(X, n_components, covariance_type, seed=seed)
    return X, parameters, mixture, sample_weight, draw(st.sampled_from([0.0, 1e-6, 0.1]))
