"""The emission family that a hidden Markov model is asked for: by a word, or as an object."""

from sklearn.base import clone

from skvae.emissions import EMISSIONS, Emission, GaussianEmission
from skvae.gaussian.covariance import STRUCTURES
from skvae.validation import check_choice

# What the estimator's own parameters say when they say nothing.
_SHORT_WAY = {
    "covariance_type": "full",
    "reg_covar": 1e-6,
    "means_init": None,
    "covariances_init": None,
}


def emission_of(estimator):
    """Return a fresh emission of the family that an EMHiddenMarkov is asked for.

    Raises
    ------
    ValueError
        There is none of that name, or it does not take what the estimator says of it.
    """
    check_choice("covariance_type", estimator.covariance_type, tuple(STRUCTURES))
    asked, own = estimator.emission, {name: getattr(estimator, name) for name in _SHORT_WAY}
    if isinstance(asked, str) and asked == "gaussian":
        return GaussianEmission(**own)
    if isinstance(asked, str) and asked in EMISSIONS:
        emission = EMISSIONS[asked]()
    elif isinstance(asked, Emission):
        emission = clone(asked)
    else:
        names = ", ".join(map(repr, EMISSIONS))
        raise ValueError(
            f"emission={asked!r}: must be one of {names} or an emission object of skvae.hmm"
        )
    for name, value in own.items():
        if not _same(value, _SHORT_WAY[name]):
            raise ValueError(
                f"{name}={value!r} configures emission='gaussian', but emission={asked!r}: give it "
                "to the emission object instead"
            )
    return emission


def same_form(now, before):
    """Return whether two emissions are of one family, and their parameters of one shape."""
    return _form(now) == _form(before)


def _form(emission):
    parts = {}
    for name, value in emission.get_params().items():
        if isinstance(value, Emission):
            parts[name] = type(value)
        elif name.endswith(("covariance_type", "n_mix")):
            parts[name] = value
    return type(emission), parts


def _same(value, default):
    return isinstance(value, type(default)) and value == default
