"""What a result has to be, whatever went in."""

import numpy as np

from tests.faults.cases import BAYES, CHAIN, MIXTURE, NET


class Fault(AssertionError):
    """A case that broke a promise."""


def demand(holds, text):
    """Raise Fault unless something holds."""
    if not holds:
        raise Fault(text() if callable(text) else text)


# Answers ------------------------------------------------------------------------------------------

_PROBABILITIES = ("transform", "predict_proba", "fit_transform")
_SCALARS = ("score", "bic", "aic", "icl")
_FLOATS = (
    *("impute", "elbo", "reconstruct", "standard_error", "effective_sample_size"),
    *("inverse_transform", "score_samples", *_PROBABILITIES),
)


def check_answer(name, verb, answer, X, recipe=None):
    """Raise Fault unless an answer is one that a method may give for X."""
    if verb in _SCALARS:
        # ln 0 of a chain's rows, or of rows beyond the squares of numbers, is no number's fault.
        demand(type(answer) is float and not np.isnan(answer), lambda: f"{verb} is {answer!r}")
        return
    if verb == "decode":
        demand(not np.isnan(answer[0]), "decode's log-probability is NaN")
        answer = answer[1]
    if verb in ("k_best", "forecast"):
        parts = answer if verb == "k_best" else [a for f in _listed(answer) for a in f]
        demand(not any(np.isnan(part).any() for part in parts), f"{verb} has a NaN")
        return
    rows = verb not in ("active_units", "sample_posterior")
    answer = np.concatenate(answer, axis=0 if rows else -1) if isinstance(answer, list) else answer
    # Of a bound its terms: what a sum over infinite draws is worth, no one knows.
    for part in answer[:3] if verb in ("elbo", "posterior") else [answer]:
        _check_array(name, verb, np.asarray(part), X, recipe)


def _listed(answer):
    return answer if isinstance(answer, list) else [answer]


def _check_array(name, verb, answer, X, recipe):
    if recipe is not None and recipe.form == "array" and verb not in ("active_units",):
        n = answer.shape[1] if verb == "sample_posterior" else len(answer)
        demand(n == recipe.n_rows, lambda: f"{verb} has {n} rows for {recipe.n_rows}")
    if verb in ("predict", "decode", "fit_predict", "sample_posterior"):
        demand(answer.dtype.kind == "i" and (answer >= 0).all(), lambda: f"{verb}: {answer!r}")
        return
    if verb == "active_units":
        demand(answer.dtype == bool, lambda: f"{verb}: {answer!r}")
        return
    single = answer.dtype == np.float32
    if isinstance(X, np.ndarray):
        expected = np.float32 if X.dtype == np.float32 else np.float64
        demand(answer.dtype == expected, lambda: f"{verb} is {answer.dtype}, not {expected}")
    demand(answer.dtype in (np.float32, np.float64), lambda: f"{verb} is {answer.dtype}")
    demand(not np.isnan(answer).any(), lambda: f"{verb} has a NaN: {answer!r}")
    if verb in _PROBABILITIES and name != NET:
        total = answer.sum(axis=1, dtype=np.float64)
        close = np.abs(total - 1).max(initial=0.0) < (1e-5 if single else 1e-9)
        demand(close and (answer >= 0).all(), lambda: f"{verb} is no distribution: {answer!r}")
    if verb == "score_samples":
        demand((answer < np.inf).all(), lambda: f"{verb} is infinite: {answer!r}")
    elif verb != "elbo" and _moderate(X):
        demand(np.isfinite(answer).all(), lambda: f"{verb} is infinite: {answer!r}")


def _moderate(X):
    """Whether X is an array of numbers that float32 can square."""
    if not isinstance(X, np.ndarray) or X.dtype.kind not in "iubf":
        return False
    return bool((np.abs(X[~np.isnan(X)]) < 1e15).all())


# Fits ---------------------------------------------------------------------------------------------


def check_learned(case, model, X, weight, groups, *, watched):
    """Raise Fault unless a model that was just fitted to X keeps its promises.

    ``watched(ask)`` returns what ``ask()`` does, and raises Fault where it fails or warns.
    """
    name = case.estimator
    _check_trace(case, model)
    if name == NET:
        _check_history(model)
    else:
        _check_parameters(name, model)
    keywords = {} if groups is None else {"groups": groups}
    positive = weight is None or (np.ndim(weight) and (np.asarray(weight, float) > 0).all())
    for verb in ("score_samples", "transform", *(() if name == NET else ("predict",))):
        answer = watched(lambda verb=verb: getattr(model, verb)(X, **keywords))
        check_answer(name, verb, answer, X, case.rows)
        if verb == "score_samples" and positive and name != CHAIN and case.verb == "fit":
            rows = np.concatenate(_listed(answer))
            finite = np.isfinite(rows).all()
            demand(finite, lambda rows=rows: f"rows that were learned score {rows!r}")
    drawn, latent = watched(lambda: model.sample(3))
    demand(drawn.shape == (3, model.n_features_in_), f"sample has shape {drawn.shape}")
    demand(np.isfinite(drawn).all(), lambda: f"sample is {drawn!r}")
    demand(len(latent) == 3, "sample has other latents than rows")


def _check_trace(case, model):
    bounds = np.asarray(model.lower_bounds_, dtype=float)
    demand(type(model.lower_bound_) is float, "lower_bound_ is no float")
    demand(np.isfinite(model.lower_bound_), lambda: f"lower_bound_ is {model.lower_bound_}")
    demand(type(model.n_iter_) is int and type(model.converged_) is bool, "n_iter_ or converged_")
    if case.estimator == NET and not case.fresh:
        return  # goes on from the epochs before
    # An autoencoder that keeps its first weights has their bound.
    expected = max(model.n_iter_, 1) if case.estimator == NET else model.n_iter_
    demand(len(bounds) == expected, f"{len(bounds)} bounds in {model.n_iter_} iterations")
    if len(bounds):
        demand(bounds[-1] == model.lower_bound_, "lower_bounds_ does not end in lower_bound_")
    if case.verb == "partial_fit":
        return
    largest = model.max_epochs if case.estimator == NET else model.max_iter
    demand(model.n_iter_ <= largest, f"{model.n_iter_} iterations")
    demand(np.isfinite(bounds).all(), lambda: f"bounds are {bounds}")
    online = case.estimator == BAYES and model.learning_method == "online"
    if case.estimator == NET or online or len(bounds) < 2:
        return
    fall = np.max(bounds[:-1] - bounds[1:])
    allowed = 1e-9 * (1 + np.abs(bounds).max()) + 100 * np.finfo(float).eps * _condition(model)
    demand(fall <= allowed, lambda: f"the bound falls by {fall:.3g} > {allowed:.3g}: {bounds}")


def _condition(model):
    """The ratio of the widest to the narrowest direction of a model's covariances."""
    found = getattr(model, "covariances_", None)
    if found is None or not np.isfinite(found).all():
        return 1.0
    kind = getattr(model, "covariance_type", "full")
    with np.errstate(all="ignore"):
        if kind in ("full", "tied"):
            values = np.abs(np.linalg.eigvalsh(found / np.abs(found).max()))
        else:
            values = found / found.max()
        return float(min(values.max() / max(values.min(), 1e-300), 1e16))


def _check_parameters(name, model):
    for attribute in ("weights_", "startprob_", "transmat_"):
        value = getattr(model, attribute, None)
        if value is not None:
            total = value.sum(axis=-1)
            # Of a process, sticks that are not among the components have the rest.
            whole = np.allclose(total, 1) or (name == BAYES and total < 1)
            good = np.isfinite(value).all() and (value >= 0).all() and whole
            demand(good, lambda attribute=attribute, value=value: f"{attribute} is {value!r}")
    for attribute in ("means_", "covariances_"):
        value = getattr(model, attribute, None)
        if value is not None:
            finite = np.isfinite(value).all()
            demand(finite, lambda attribute=attribute, value=value: f"{attribute} is {value!r}")
    if name == BAYES:
        demand(np.isfinite(model.elbo_), lambda: f"elbo_ is {model.elbo_}")
    if name == MIXTURE:
        variances = model.covariances_
        if model._covariance_type in ("full", "tied"):
            variances = np.diagonal(variances, axis1=-2, axis2=-1)
        demand((variances > 0).all(), lambda: f"covariances_ are {model.covariances_!r}")


def _check_history(model):
    for name, values in model.history_.items():
        bad = np.isnan(values).any() and name != "valid_bound"
        demand(not bad, lambda name=name, values=values: f"history_[{name!r}] is {values}")
