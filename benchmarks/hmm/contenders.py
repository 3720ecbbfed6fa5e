"""The contenders: hidden Markov models of three libraries, with the same methods."""

import importlib.util
import logging
import warnings
from contextlib import contextmanager

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skvae import EMHiddenMarkov
from skvae.hmm import GaussianEmission

SCALING, LOG = "hmmlearn scaling", "hmmlearn log"
# pomegranate loops over a sequence in Python and keeps several arrays of shape (T, K, K).
_LONGEST, _MOST_PAIRS = 20_000, 100_000_000


class Skvae:
    """skvae's EMHiddenMarkov."""

    def supports(self, problem):
        """Return whether it can do the problem in a time and memory that can be waited for."""
        return True

    def load(self, X, problem):
        """Return X and its sequences as this library takes them."""
        if problem.n_sequences == 1:
            return X, None
        return X, np.repeat(np.arange(problem.n_sequences), problem.length)

    def fit(self, data, start, n_iterations):
        """Return the model after exactly `n_iterations` from `start`."""
        X, groups = data
        model = EMHiddenMarkov(
            len(start.means),
            covariance_type=start.covariance_type,
            startprob_init=start.startprob,
            transmat_init=start.transmat,
            means_init=start.means,
            covariances_init=start.covariances,
            max_iter=n_iterations,
            tol=0.0,
        )
        with _quiet():
            return model.fit(X, groups=groups)

    def iterations(self, model):
        """Return the number of iterations of a fit."""
        return model.n_iter_

    def bound(self, model, n_rows):
        """Return the log-likelihood before the last M step, nats a row, as all record it."""
        return model.lower_bounds_[-2]

    def known(self, chain):
        """Return a model with known parameters."""
        emission = GaussianEmission.from_parameters(
            chain.means, chain.covariances, chain.covariance_type
        )
        return EMHiddenMarkov.from_parameters(chain.startprob, chain.transmat, emission)

    def predict(self, model, data):
        """Return the most probable path, (n_rows,)."""
        return model.predict(data[0], groups=data[1])

    def score(self, model, data):
        """Return the log-likelihood, nats a row."""
        return model.score(data[0], groups=data[1])

    def predict_proba(self, model, data):
        """Return the posteriors, (n_rows, n_states)."""
        return model.predict_proba(data[0], groups=data[1])


class Hmmlearn:
    """hmmlearn's GaussianHMM, without its priors, which would change the objective.

    Parameters
    ----------
    implementation : {"scaling", "log"}
    """

    def __init__(self, implementation):
        self.implementation = implementation

    def supports(self, problem):
        """Return True."""
        return True

    def load(self, X, problem):
        """Return X and the lengths of its sequences."""
        return X, np.full(problem.n_sequences, problem.length)

    def fit(self, data, start, n_iterations):
        """Return the model after exactly `n_iterations` from `start`."""
        with _quiet():
            return self.known(start, n_iterations).fit(*data)

    def iterations(self, model):
        """Return the number of iterations of a fit."""
        return model.monitor_.iter

    def bound(self, model, n_rows):
        """Return the log-likelihood before the last M step, nats a row."""
        return model.monitor_.history[-1] / n_rows

    def known(self, chain, n_iterations=10):
        """Return a model with known parameters."""
        from hmmlearn.hmm import GaussianHMM

        model = GaussianHMM(
            len(chain.means),
            covariance_type=chain.covariance_type,
            covars_prior=0.0,
            covars_weight=0.0,
            n_iter=n_iterations,
            tol=-np.inf,  # rounding near convergence would end a fit with tol=0
            init_params="",
            implementation=self.implementation,
        )
        model.startprob_, model.transmat_ = chain.startprob, chain.transmat
        model.means_, model.covars_ = chain.means, chain.covariances
        model.n_features = chain.means.shape[1]
        return model

    def predict(self, model, data):
        """Return the most probable path, (n_rows,)."""
        return model.predict(*data)

    def score(self, model, data):
        """Return the log-likelihood, nats a row."""
        return model.score(*data) / len(data[0])

    def predict_proba(self, model, data):
        """Return the posteriors, (n_rows, n_states)."""
        return model.predict_proba(*data)


class Pomegranate:
    """pomegranate's DenseHMM: from the first M step its model has end probabilities too."""

    def supports(self, problem):
        """Return whether it can do the problem in a time and memory that can be waited for."""
        few = problem.n_rows * problem.n_states**2 <= _MOST_PAIRS
        return few and problem.length <= _LONGEST and not problem.left_right

    def load(self, X, problem):
        """Return X as a tensor (n_sequences, length, n_features) that shares its memory."""
        import torch

        return torch.from_numpy(X).reshape(problem.n_sequences, problem.length, -1)

    def fit(self, data, start, n_iterations):
        """Return the model after exactly `n_iterations` from `start`."""
        with _double():
            return self.known(start, n_iterations).fit(data)

    def iterations(self, model):
        """Return the number of iterations of a fit: it is not recorded, but always the limit."""
        return model.max_iter

    def bound(self, model, n_rows):
        """Return None: there is no record, and the model has end probabilities."""

    def known(self, chain, n_iterations=10):
        """Return a model with known parameters, in which a sequence may end anywhere."""
        import torch
        from pomegranate.distributions import Normal
        from pomegranate.hmm import DenseHMM

        # Its parameters are updated in place, so it needs copies.
        with _double():
            model = DenseHMM(
                [
                    Normal(torch.tensor(mean), torch.tensor(covariance), chain.covariance_type)
                    for mean, covariance in zip(chain.means, chain.covariances, strict=True)
                ],
                edges=torch.tensor(chain.transmat),
                starts=torch.tensor(chain.startprob),
                ends=torch.ones(len(chain.means)),
                max_iter=n_iterations,
            )
        model.tol = -np.inf  # the constructor requires a positive value
        return model

    def score(self, model, data):
        """Return the log-likelihood, nats a row."""
        with _double():
            return float(model.log_probability(data).sum()) / (data.shape[0] * data.shape[1])


SKVAE = Skvae()
HMMLEARN = {SCALING: Hmmlearn("scaling"), LOG: Hmmlearn("log")}


def contenders(problem):
    """Return the contenders that can do `problem` and are installed, by name, skvae first."""
    everyone = {"skvae": SKVAE, **HMMLEARN}
    if importlib.util.find_spec("pomegranate"):
        everyone["pomegranate"] = Pomegranate()
    return {name: one for name, one in everyone.items() if one.supports(problem)}


@contextmanager
def _quiet():
    # The number of iterations is fixed, so the warning has no meaning.
    log = logging.getLogger("hmmlearn")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _double():
    """Make float64 torch's default: with other types pomegranate's models fail."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
