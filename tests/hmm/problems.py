"""Chains, sequences and fitted models that the tests of hidden Markov models share."""

import numpy as np

from skvae import EMHiddenMarkov
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    PoissonEmission,
    StudentTEmission,
)
from tests.combinations import slow
from tests.emissions.family_cases import random_emission
from tests.problems import random_covariance

LENGTHS = (7, 1, 12, 3, 1, 20)
MORE = "gamma", "von_mises", "negative_binomial", "zero_inflated_poisson", "multinomial"
FAMILIES = (
    "full", "tied", "diag", "spherical", "gaussian_mixture", "student_t", "categorical", "poisson",
    "bernoulli", "column", *MORE,
)  # fmt: skip
# Where the family matters little: the others are left to CI.
FEW = ("full", "gaussian_mixture", "categorical", "column")
FEW_FAMILIES = [*FEW, *slow(*(family for family in FAMILIES if family not in FEW))]


def random_chain(n_states, seed=0, *, zeros=0.0, sticky=0.0):
    """(startprob, transmat), some entries of which are zero but no whole row."""
    rng = np.random.default_rng(seed)
    start = rng.dirichlet(np.ones(n_states))
    transmat = rng.dirichlet(np.ones(n_states), n_states) + sticky * np.eye(n_states)
    for row in (start, *transmat):
        gone = rng.random(n_states) < zeros
        gone[rng.integers(n_states)] = False
        row[gone] = 0.0
    return start / start.sum(), transmat / transmat.sum(axis=1, keepdims=True)


def left_right(n_states, stay=0.7):
    """(startprob, transmat) of a chain that begins in state 0 and only moves on."""
    transmat = stay * np.eye(n_states) + (1 - stay) * np.eye(n_states, k=1)
    transmat[-1, -1] = 1.0
    return np.eye(n_states)[0], transmat


def groups_of(lengths):
    """A group id for each row."""
    return np.repeat(np.arange(len(lengths)), lengths)


def known_covariances(covariance_type, n, n_features, seed=0):
    """Covariances of n Gaussians in scikit-learn's shape."""
    rng = np.random.default_rng(seed)
    full = np.stack([random_covariance(rng, n_features) for _ in range(n)])
    if covariance_type == "tied":
        return full[0]
    diagonals = full.diagonal(axis1=1, axis2=2)
    return {"full": full, "diag": diagonals, "spherical": diagonals.mean(axis=1)}[covariance_type]


def known_emission(family, n_states=3, n_features=2, seed=0):
    """A fitted emission with overlapping states."""
    rng = np.random.default_rng(seed)
    means = 2.0 * rng.normal(size=(n_states, n_features))
    if family in ("full", "tied", "diag", "spherical"):
        covariances = known_covariances(family, n_states, n_features, seed)
        return GaussianEmission.from_parameters(means, covariances, family)
    if family == "gaussian_mixture":
        covariances = known_covariances("full", 2 * n_states, n_features, seed)
        return GaussianMixtureEmission.from_parameters(
            rng.dirichlet([3.0, 3.0], n_states),
            2.0 * rng.normal(size=(n_states, 2, n_features)),
            covariances.reshape(n_states, 2, n_features, n_features),
        )
    if family == "student_t":
        covariances = known_covariances("full", n_states, n_features, seed)
        dofs = rng.uniform(2.5, 9.0, size=n_states)
        return StudentTEmission.from_parameters(means, covariances, dofs)
    if family == "categorical":
        return CategoricalEmission.from_parameters(
            rng.dirichlet(np.ones(4), size=(n_states, n_features))
        )
    if family == "poisson":
        return PoissonEmission.from_parameters(rng.uniform(0.5, 9.0, size=(n_states, n_features)))
    if family == "bernoulli":
        return BernoulliEmission.from_parameters(rng.uniform(0.1, 0.9, size=(n_states, n_features)))
    if family in MORE:
        return random_emission(family, n_states, n_features, seed, share=0.3, total=30)
    parts = [
        ("level", known_emission("full", n_states, 1, seed), [0]),
        ("kind", known_emission("categorical", n_states, n_features - 1, seed + 1), range(1, 2)),
    ]
    return ColumnEmission.from_parameters(
        [(name, part, list(columns)) for name, part, columns in parts]
    )


def known_model(family="full", n_states=3, n_features=2, seed=0, *, zeros=0.0, sticky=1.0):
    """A fitted model with known parameters."""
    start, transmat = random_chain(n_states, seed, zeros=zeros, sticky=sticky)
    model = EMHiddenMarkov.from_parameters(
        start, transmat, known_emission(family, n_states, n_features, seed)
    )
    return model.set_params(random_state=seed)


def rows_of(model, lengths=LENGTHS, seed=0):
    """Sequences drawn from a model, one after the other."""
    return np.concatenate(
        [model.sample(n, random_state=seed + s)[0] for s, n in enumerate(lengths)]
    )


def holes(X, share=0.3, seed=0):
    """A copy with missing values; some rows have nothing else."""
    rng = np.random.default_rng(seed)
    missing = rng.random(X.shape) < share
    missing[rng.random(len(X)) < 0.15] = True
    return np.where(missing, np.nan, X)


def learner(family, n_states=3, **settings):
    """An estimator of a family with its default emission, or one with priors."""
    emission = {
        "gaussian_mixture": "gaussian_mixture",
        "student_t": "student_t",
        "categorical": CategoricalEmission(4),
        "poisson": "poisson",
        "bernoulli": "bernoulli",
        **{name: name for name in MORE},
        "column": ColumnEmission(
            [("level", GaussianEmission(), [0]), ("kind", CategoricalEmission(4), [1])]
        ),
    }
    if family in emission:
        settings = {"emission": emission[family]} | settings
    else:
        settings = {"covariance_type": family} | settings
    return EMHiddenMarkov(n_states, **({"random_state": 0} | settings))
