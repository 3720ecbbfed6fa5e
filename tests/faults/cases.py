"""A case: an estimator, what was done to it before, and one call; and strategies that draw cases.

>>> from tests.faults.cases import Case
>>> Case("EMGaussianMixture", verb="predict")
Case('EMGaussianMixture', verb='predict')
"""

from dataclasses import dataclass, replace
from functools import cache

from hypothesis import strategies as st

import skvae
from skvae.hmm import ColumnEmission, GaussianEmission, PoissonEmission
from tests.faults.arguments import GROUPS, JUNK, WEIGHTS, is_endless
from tests.faults.rows import DTYPES, FORMS, HOLES, LAYOUTS, VALUES, Recipe, differences, simpler

MIXTURE, CHAIN, BAYES, NET = (
    *("EMGaussianMixture", "EMHiddenMarkov", "BayesianMixtureSVI", "VariationalAutoencoder"),
)
ESTIMATORS = (MIXTURE, CHAIN, BAYES, NET)

_ASCENT = {"n_components": 2, "max_iter": 3, "random_state": 0}
# A fit that is over before it is noticed.
SMALL = {
    MIXTURE: _ASCENT,
    CHAIN: _ASCENT,
    BAYES: _ASCENT,
    NET: {
        "n_components": 1,
        "hidden_layer_sizes": (3,),
        "max_epochs": 1,
        "n_score_samples": 3,
        "n_prior_components": 2,
        "device": "cpu",
        "random_state": 0,
    },
}
_STRUCTURES = ("full", "tied", "diag", "spherical")
_EMISSIONS = (
    "gaussian_mixture", "categorical", "poisson", "bernoulli", "student_t", "gamma", "von_mises",
    "negative_binomial", "zero_inflated_poisson", "multinomial",
)  # fmt: skip
_LIKELIHOODS = (
    *("student_t", "bernoulli", "continuous_bernoulli", "categorical", "poisson"),
    "negative_binomial",
)
# What earlier fits there are: the parameters under a name. Each could have made rows of 0 and 1.
FAMILIES = {
    MIXTURE: {kind: {"covariance_type": kind} for kind in _STRUCTURES},
    BAYES: {
        **{kind: {"covariance_type": kind} for kind in _STRUCTURES},
        "batch": {"learning_method": "batch"},
        "online": {"learning_method": "online", "batch_size": 5},
        "dirichlet": {"weight_concentration_prior_type": "dirichlet_distribution"},
    },
    CHAIN: {
        **{kind: {"covariance_type": kind} for kind in _STRUCTURES},
        **{name: {"emission": name} for name in _EMISSIONS},
        "left-right": {"transmat_init": [[0.5, 0.5], [0.0, 1.0]], "startprob_init": [1.0, 0.0]},
        "columns": {
            "emission": ColumnEmission(
                [("number", PoissonEmission(), [0]), ("size", GaussianEmission("diag"), [1])]
            )
        },
    },
    NET: {
        "gaussian": {},
        **{name: {"likelihood": name} for name in _LIKELIHOODS},
        "columns": {"likelihood": [("poisson", [0]), ("gaussian", [1])]},
        "mixture": {"prior": "mixture"},
        "vamp": {"prior": "vamp"},
    },
}
_INIT = ("kmeans", "k-means++", "random", "random_from_data")
_OF_ASCENTS = {
    "n_components": (1, 2, 3, 5),
    "max_iter": (0, 1, 3, 10),
    "tol": (0.0, 1e-3, 1e308),
    "n_init": (1, 2),
    "n_jobs": (1, 2, -1),
    "init_params": _INIT,
    "warm_start": (True,),
    "random_state": (1, 2**32 - 1),
}
# Parameters that may be so.
SETTINGS = {
    MIXTURE: {
        **_OF_ASCENTS,
        "reg_covar": (0.0, 5e-324, 1e-6, 1.0, 1e300),
        "acceleration": ("anderson",),
        "weights_init": ([0.5, 0.5], [1.0, 0.0], [1.0, 5e-324]),
        "means_init": ([[0.0, 0.0]] * 2, [[0.0, 0.0], [1e150, 0.0]], [[1e300, 0.0]] * 2),
        "precisions_init": ([[[1.0, 0.0], [0.0, 1.0]]] * 2, [[[1e-300, 0.0], [0.0, 1e300]]] * 2),
    },
    CHAIN: {
        **_OF_ASCENTS,
        "reg_covar": (0.0, 5e-324, 1e-6, 1.0, 1e300),
        "acceleration": ("anderson",),
        "startprob_prior": (2.0, 1e300),
        "transmat_prior": (2.0, [[1.0, 5.0], [1.0, 1.0]]),
        "startprob_init": ([0.5, 0.5], [1.0, 0.0]),
        "transmat_init": ([[1.0, 0.0], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]),
        "means_init": ([[0.0, 0.0]] * 2, [[1e300, 0.0]] * 2),
        "covariances_init": ([[[1.0, 0.0], [0.0, 1.0]]] * 2, [[[1e-300, 0.0], [0.0, 1e300]]] * 2),
        "inference": ("filter",),
    },
    BAYES: {
        **_OF_ASCENTS,
        "weight_concentration_prior": (5e-324, 1e-30, 1e-3, 1.0, 1e30, 1e300),
        "mean_precision_prior": (5e-324, 1e-30, 1.0, 1e30, 1e300),
        "mean_prior": ([0.0, 0.0], [1e150, 0.0]),
        "degrees_of_freedom_prior": (1.0001, 10.0, 1e30, 1e300),
        "covariance_prior": (1e-300, 1.0, [1.0, 1.0], [[1.0, 0.0], [0.0, 1e-8]]),
        "learning_decay": (0.51, 1.0),
        "learning_offset": (1.0, 1e308),
        "batch_size": (1, 5, 10**6),
        "total_samples": (1, 100, 1e300),
        "moves": (("birth",), ("birth", "merge", "delete")),
    },
    NET: {
        "n_components": (1, 2, 5),
        "hidden_layer_sizes": ((), (2, 2)),
        "activation": ("tanh", "identity"),
        "encoder_covariance": ("full",),
        "likelihood_params": ({"scale": "decoder"}, {"scale": "shared"}, {"min_scale": 1e-300}),
        "n_prior_components": (1, 3),
        "beta": (0.0, 1e30),
        "kl_warmup": (0, 5),
        "free_bits": (0.5, 1e30),
        "n_importance_samples": (2,),
        "n_score_samples": (1, 2),
        "max_epochs": (1, 2),
        "batch_size": (1, 10**6),
        "lr": (1e-30, 1.0, 1e30),
        "optimizer": ("sgd", "adamw", "rmsprop"),
        "gradient_clip": (1e-30, 1.0),
        "early_stopping": (False,),
        "validation_fraction": (1e-6, 0.5, 0.99),
        "n_iter_no_change": (1,),
        "tol": (0.0, 1e308),
        "mixed_precision": (True,),
        "warm_start": (True,),
        "random_state": (1, 2**32 - 1),
    },
}
_MIXTURE_READS = (
    *("score_samples", "score", "transform", "predict", "predict_proba", "impute"),
    *("fit_predict", "fit_transform"),
)
# The methods that take rows.
VERBS = {
    MIXTURE: (*_MIXTURE_READS, "bic", "aic", "icl"),
    BAYES: _MIXTURE_READS,
    CHAIN: (
        *("score_samples", "score", "transform", "predict", "predict_proba", "fit_transform"),
        *("bic", "aic", "decode", "sample_posterior", "k_best", "forecast"),
        *("fit_predict", "impute", "icl"),
    ),
    NET: (
        *("score_samples", "score", "transform", "impute", "elbo", "reconstruct", "active_units"),
        *("standard_error", "effective_sample_size", "inverse_transform", "fit_transform"),
        "posterior",
    ),
}
LEARNING = ("fit", "partial_fit", "fit_predict", "fit_transform")
# Other methods: what they do with an argument that may be junk.
QUESTIONS = {
    "sample": lambda model, junk: model.sample(junk),
    "sample with a seed": lambda model, junk: model.sample(2, random_state=junk),
    "marginal": lambda model, junk: model.marginal(junk),
    "conditional": lambda model, junk: model.conditional([0], junk),
    "conditional on features": lambda model, junk: model.conditional(junk, [0.5]),
    "credible_interval": lambda model, junk: model.credible_interval(junk),
    "decoded": lambda model, junk: model.inverse_transform(junk),
    "likelihood": lambda model, junk: model.likelihood_parameters(junk),
    "k best paths": lambda model, junk: model.k_best([[0.0, 1.0]] * 3, junk),
    "forecast of steps": lambda model, junk: model.forecast([[0.0, 1.0]] * 3, junk),
    "paths": lambda model, junk: model.sample_posterior([[0.0, 1.0]] * 3, junk),
    "another order": lambda model, junk: model.relabel(junk),
    "continued": lambda model, junk: model.sample(2, prefix=junk),
    "next rows": lambda model, junk: model.online().update(junk),
    "quantile": lambda model, junk: model.forecast([[0.0, 1.0]] * 3, 2).quantile(junk),
    "interval": lambda model, junk: model.forecast([[0.0, 1.0]] * 3, 2).interval(junk),
}
ASKED = {
    MIXTURE: (
        *("sample", "sample with a seed", "marginal", "conditional", "conditional on features"),
        "another order",
    ),
    BAYES: ("sample", "sample with a seed", "credible_interval", "another order"),
    CHAIN: (
        *("sample", "sample with a seed", "k best paths", "forecast of steps", "paths"),
        *("another order", "continued", "next rows", "quantile", "interval"),
    ),
    NET: ("sample", "sample with a seed", "decoded"),
}
PLAIN = Recipe()
_SIZES = ("sample", "paths", "forecast of steps", "k best paths")


@dataclass(frozen=True, repr=False)
class Case:
    """One call of one estimator; its repr names only what is not as here.

    Parameters
    ----------
    estimator : str
        Its name.
    verb : str
        The method, or a name in QUESTIONS.
    fresh : bool
        Whether nothing was fitted before.
    family : str
        Of FAMILIES; the first is the default.
    rows : Recipe
        What X is.
    settings : tuple of (str, object)
        Parameters.
    junk : tuple of (str, str)
        Parameters, and what they are by mistake: a name in JUNK. "argument" is that of a question.
    weight, groups : str
        Names in WEIGHTS and GROUPS.
    """

    estimator: str
    verb: str = "fit"
    fresh: bool = False
    family: str = ""
    rows: Recipe = PLAIN
    settings: tuple = ()
    junk: tuple = ()
    weight: str = "none"
    groups: str = "none"

    def __repr__(self):
        rest = differences(self)[1:]
        return f"Case({', '.join([repr(self.estimator), *rest])})"

    @property
    def learns(self):
        """Return whether the call is one that changes the estimator."""
        return self.verb in LEARNING

    def parameters(self):
        """Return the parameters of the call, junk included."""
        family = self.family or next(iter(FAMILIES[self.estimator]))
        return {
            **SMALL[self.estimator],
            **FAMILIES[self.estimator][family],
            **dict(self.settings),
            **{name: JUNK[word]() for name, word in self.junk if name != "argument"},
        }

    def simpler(self):
        """Yield cases that are a little simpler."""
        yield from simpler(self)
        for rows in simpler(self.rows):
            yield replace(self, rows=rows)
        for name in ("settings", "junk"):
            pairs = getattr(self, name)
            for i in range(len(pairs)):
                yield replace(self, **{name: pairs[:i] + pairs[i + 1 :]})


def estimator_of(name):
    """The class of a name."""
    return getattr(skvae, name)


def parameter_names(name):
    """The names of an estimator's constructor parameters."""
    return sorted(estimator_of(name)().get_params(deep=False))


# Strategies ---------------------------------------------------------------------------------------


# Strategies are made once: hypothesis takes longer to look at new ones than a case takes to run.


@cache
def mostly(default, others, odds=1):
    """The default half of the time, or with other odds to one; or else one of the others."""
    return st.sampled_from((*(default,) * (odds * len(others)), *others))


_SPIKES = (
    *(float("nan"), float("inf"), float("-inf"), 0.0, 0.5, -1.0, 5e-324, 1e16, 1e30, -1e39),
    *(1e139, 1e150, -1e200, 1e300, -1.7e308),
)
_SCALES = (1e-300, 1e-160, 1e-100, 1e-30, 1e-8, 1e8, 1e30, 1e100, 1e138, 1e160, 1e300)
_OFFSETS = (1e8, -1e8, 1e12, 1e16, 1e30, 1e100, -1e139, 1e300)


# Fields of a recipe: more than three at once would hide each other.
_ODDITIES = tuple(
    (field, value)
    for field, values in {
        "n_rows": (0, 1, 2, 3, 5, 20),
        "n_columns": (0, 1, 3, 4),
        "values": tuple(VALUES) * 2,
        "scale": _SCALES,
        "offset": _OFFSETS,
        "holes": tuple(HOLES) * 2,
        "spike": _SPIKES,
        "dtype": (*DTYPES, *("float32",) * 9),
        "layout": LAYOUTS,
        "form": FORMS,
        "seed": (1, 2, 3),
    }.items()
    for value in values
)


@cache
def recipes(*, tame=False):
    """Recipes of rows; tame ones are arrays of ordinary numbers."""
    if tame:
        return st.builds(
            Recipe,
            n_rows=st.integers(2, 14),
            values=mostly("blobs", ("binary", "counts", "twins")),
            seed=st.sampled_from((0, 1, 2, 3)),
        )
    return st.lists(st.sampled_from(_ODDITIES), min_size=1, max_size=3).map(
        lambda fields: Recipe(**dict(fields))
    )


@cache
def _settings_of(name):
    pairs = [(key, value) for key, values in SETTINGS[name].items() for value in values]
    several = st.lists(st.sampled_from(pairs), max_size=3)
    return several.map(lambda entries: tuple(dict(entries).items()))


@cache
def _junk_of(name):
    names = [parameter for parameter in parameter_names(name) for _ in (0, 1)]
    return st.tuples(st.sampled_from(names), st.sampled_from(sorted(JUNK)))


_KINDS = st.sampled_from((*("rows",) * 5, *("reads",) * 3, "junk", "junk", "asked"))
_ROWS = st.one_of(recipes(), recipes(), recipes(tame=True))


@st.composite
def cases(draw, name):
    """Cases of an estimator: rows, arguments, parameters or questions that should not be."""
    kind = draw(_KINDS)
    family = draw(mostly("", tuple(FAMILIES[name])))
    if kind == "asked":
        verb = draw(mostly("sample", ASKED[name][1:]))
        _, junk = draw(_junk_of(name))
        if verb in _SIZES and is_endless("n_init", junk):
            junk = "word"
        return Case(name, verb, family=family, junk=(("argument", junk),))
    learning = tuple(verb for verb in LEARNING if verb in (*VERBS[name], "partial_fit"))
    verbs = mostly("fit", learning)
    fresh = draw(mostly(True, (False,)))
    settings = draw(_settings_of(name))
    if kind == "junk":
        parameter, junk = draw(_junk_of(name))
        if is_endless(parameter, junk):
            junk = "-1"
        rows = draw(recipes(tame=True))
        settings = tuple(entry for entry in settings if entry != ("tol", 0.0))  # it has to end
        return Case(name, draw(verbs), fresh, family, rows, settings, ((parameter, junk),))
    weight = draw(mostly("none", tuple(WEIGHTS), 4)) if name != NET else "none"
    groups = draw(mostly("none", tuple(GROUPS), 2)) if name == CHAIN else "none"
    if kind == "rows":
        rows = draw(_ROWS)
        return Case(name, draw(verbs), fresh, family, rows, settings, (), weight, groups)
    verb = draw(mostly("score_samples", tuple(v for v in VERBS[name][1:] if v not in LEARNING)))
    weight = draw(mostly("none", tuple(WEIGHTS))) if verb == "score" else "none"
    return Case(name, verb, False, family, draw(recipes()), (), (), weight, groups)
