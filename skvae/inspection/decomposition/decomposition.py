r"""Both sides of the evidence lower bound's identity, row by row, for every model of the suite.

.. math:: E_q[\ln p(z, x)] + H(q) = \mathrm{ELBO}(q)
          = \ln p(x) - \mathrm{KL}(q(z) \,\|\, p(z \mid x)) .

The left side is computed from a model's posterior, its parameters and its densities given z; on
the right side, :math:`\ln p(x)` is ``score_samples``. Neither is computed from the other, so a gap
of zero is a result. Everything is in nats; ``q`` are posteriors (n, K).

References: Neal & Hinton (1998), A view of the EM algorithm that justifies incremental, sparse, and
other variants, eqs. 4 to 8. Bishop (2006), Pattern Recognition and Machine Learning, section 9.4.
"""

from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.decomposition.bayesian_mixture import expected_log_joint, global_divergence
from skvae.inspection.decomposition.expectations import (
    as_double,
    entropies,
    expectations,
    gaussian_log_density,
    rows_of,
)
from skvae.inspection.decomposition.hidden_markov import chain_terms

_SUPPORTED = (
    "EMGaussianMixture, EMHiddenMarkov, EGHiddenMarkov, BayesianMixtureSVI, "
    "VariationalAutoencoder and HiddenMarkovAutoencoder, or another Gaussian mixture with the "
    "attributes of the first"
)
_MIXTURE = ("weights_", "means_", "covariances_", "covariance_type", "predict_proba")
_BAYESIAN = ("elbo_", "weight_concentration_", "mean_precision_", "degrees_of_freedom_")
_CHAIN = ("startprob_", "transmat_", "log_emissions")
_AUTOENCODER = ("elbo", "standard_error")


class ElboDecomposition(NamedTuple):
    """Both sides of the identity, per row, in nats: float64, or lists of arrays for lists.

    Parameters
    ----------
    expected_joint : ndarray of shape (n_samples,)
        E_q ln p(z, x).
    entropy : ndarray of shape (n_samples,)
        H(q).
    elbo : ndarray of shape (n_samples,)
        Their sum, the evidence lower bound.
    log_evidence : ndarray of shape (n_samples,)
        ln p(x), by the model's ``score_samples``.
    gap : ndarray of shape (n_samples,)
        ``log_evidence - elbo``, which is KL(q ‖ p(z | x)).
    global_kl : float
        KL(q(θ) ‖ p(θ)) of a Bayesian mixture; 0.0 where parameters are no random variables.
    elbo_error : ndarray of shape (n_samples,) or float
        The Monte Carlo standard error of ``elbo``; 0.0 where it is exact.
    log_evidence_error : ndarray of shape (n_samples,) or float
        That of ``log_evidence``.
    """

    expected_joint: np.ndarray
    entropy: np.ndarray
    elbo: np.ndarray
    log_evidence: np.ndarray
    gap: np.ndarray
    global_kl: float = 0.0
    elbo_error: np.ndarray | float = 0.0
    log_evidence_error: np.ndarray | float = 0.0


def elbo_decomposition(estimator, X, *, groups=None, posterior=None):
    r"""Return both sides of ELBO = E_q ln p(z, x) + H(q) = ln p(x) − KL(q ‖ p(z | x)), per row.

    The left side is computed from the posterior and the parameters, ``log_evidence`` by
    ``score_samples``: neither from the other. The meaning of q, z and p(x) depends on the model.

    Gaussian mixture
        z is the component and q(z) the responsibilities, which are exact: the gap is zero up to
        rounding.
    Hidden Markov model
        z is the path of states of a sequence, q its exact posterior. Each row has a share of the
        terms, by the chain rule. Row t has
        :math:`E \ln p(z_t \mid z_{t-1}) + E \ln p(x_t \mid z_t)` and
        :math:`H(z_t \mid z_{t+1}, x)`, the last row of a sequence :math:`H(z_T \mid x)`; the other
        side has :math:`\ln p(x_t \mid x_1, \ldots, x_{t-1})`. Sums over a sequence are those of the
        path. So the gap of a row may have either sign; the sum over a sequence is zero. With a
        history, densities and transitions are also conditional on the earlier rows.
    Bayesian mixture
        z is the component, θ the weights, means and precisions, and q(θ) q(z) the fitted posterior.
        A row's terms are :math:`E \ln p(x, z \mid \theta)` and :math:`H(q(z))`. The divergence of
        q(θ) from the prior is one number for all rows, ``global_kl``: on the rows of the fit
        ``elbo.sum() - global_kl`` is ``elbo_``. As ln p(X) of all rows has no closed form,
        ``log_evidence`` is that of a row by itself, after the fit: the posterior predictive
        :math:`\ln \int p(x \mid \theta)\, q(\theta)\, d\theta`. The identity is exact for it, with
        q(θ) as the prior: ``elbo`` is its lower bound, and ``gap`` ≥ 0 the divergence of q(θ) q(z)
        from the posterior of θ and z given the row: how much one more row would change q.
    Variational autoencoder
        z is the latent vector, q(z) the encoder's Gaussian, and its entropy may be negative.
        ``elbo`` has a Monte Carlo error where it has no formula, and ``log_evidence`` is
        importance-weighted, with an error and a little too low: the gap is the encoder's. Of an
        autoencoder of sequences z are all latent rows of a sequence, and the path of states is
        summed: the gap of a row may have either sign, the sum over a sequence is that of the bound.

    Parameters
    ----------
    estimator : estimator
        Fitted: :class:`skvae.EMGaussianMixture`, :class:`skvae.EMHiddenMarkov`,
        :class:`skvae.EGHiddenMarkov`, :class:`skvae.BayesianMixtureSVI`,
        :class:`skvae.VariationalAutoencoder`, :class:`skvae.HiddenMarkovAutoencoder`, or a mixture
        with the public attributes of the first, such as :class:`sklearn.mixture.GaussianMixture`.
    X : {array-like, DataFrame} of shape (n_samples, n_features), or list of such for a chain
        Rows as the estimator takes them; NaN is missing and integrated out.
    groups : array-like of shape (n_samples,), default=None
        The sequence of each row; None is one sequence. Only for chains.
    posterior : estimator, default=None
        Another fitted model of the same kind and size: its posterior of z is q. By default
        `estimator` itself. With the model before an EM step as `posterior` and the model after it
        as `estimator`, the gap is the gain of the next E step. Not for autoencoders.

    Returns
    -------
    decomposition : ElboDecomposition
        Named tuple ``(expected_joint, entropy, elbo, log_evidence, gap, global_kl, elbo_error,
        log_evidence_error)``: float64 arrays (n_samples,), except `global_kl`, and the errors of
        exact terms, which are 0.0. For a list of sequences, lists of arrays. A row that is
        impossible has −inf on both sides and a gap of NaN.

    Raises
    ------
    TypeError
        `estimator` is none of these.
    ValueError
        `posterior` does not fit `estimator`, or X is not usable.
    sklearn.exceptions.NotFittedError
        `estimator` or `posterior` is not fitted.

    References
    ----------
    Neal & Hinton (1998), A view of the EM algorithm that justifies incremental, sparse, and other
    variants, eqs. 4 to 8. Hernando, Crespi & Cybenko (2005), IEEE Trans. Inf. Theory 51, for the
    entropy of a path.

    Examples
    --------
    >>> from skvae import EMGaussianMixture
    >>> from skvae.datasets import load_geyser
    >>> from skvae.inspection import elbo_decomposition
    >>> X = load_geyser().data
    >>> mixture = EMGaussianMixture(2, random_state=0).fit(X)
    >>> terms = elbo_decomposition(mixture, X)
    >>> bool(abs(terms.expected_joint + terms.entropy - mixture.score_samples(X)).max() < 1e-9)
    True
    >>> before = EMGaussianMixture(2, random_state=0, max_iter=0).fit(X)
    >>> bool(elbo_decomposition(mixture, X, posterior=before).gap.mean() > 0)
    True
    """
    check_is_fitted(estimator)
    decompose = _decomposer(estimator)
    if posterior is None:
        return decompose(estimator, as_double(X), groups, estimator)
    check_is_fitted(posterior)
    if decompose is _autoencoder or _decomposer(posterior) is not decompose:
        raise ValueError(
            f"posterior={posterior!r}: must be None or another mixture or chain of the kind of "
            f"estimator={estimator!r}"
        )
    if _n_components(posterior) != _n_components(estimator):
        raise ValueError(
            f"posterior={posterior!r}: must have as many components as estimator={estimator!r}"
        )
    return decompose(estimator, as_double(X), groups, posterior)


def _decomposer(estimator):
    """Return the function that decomposes for an estimator; TypeError if there is none."""

    def has(names):
        return all(hasattr(estimator, name) for name in names)

    if has(_CHAIN):
        return _chain
    if has((*_MIXTURE, *_BAYESIAN)):
        return _bayesian
    # scikit-learn's variational mixture has other updates, and a score that is not its predictive.
    if has(_MIXTURE) and not has(_BAYESIAN[1:]):
        return _mixture
    if has(_AUTOENCODER):
        return _autoencoder
    raise TypeError(
        f"{type(estimator).__name__} has no decomposition of the bound: estimator must be one of "
        f"{_SUPPORTED}. Of a search give best_estimator_, of a Pipeline the last step and the rows "
        "that reach it."
    )


def _n_components(estimator):
    return len(estimator.startprob_ if hasattr(estimator, "startprob_") else estimator.means_)


def _both_sides(expected_joint, entropy, log_evidence, **others):
    elbo = expected_joint + entropy
    with np.errstate(invalid="ignore"):  # of an impossible row both are −inf
        gap = log_evidence - elbo
    return ElboDecomposition(expected_joint, entropy, elbo, log_evidence, gap, **others)


def _mixture(estimator, X, _groups, posterior):
    log_evidence = np.asarray(estimator.score_samples(X), np.float64)
    q, rows = np.asarray(posterior.predict_proba(X), np.float64), rows_of(X)
    with np.errstate(divide="ignore"):
        log_joint = np.log(estimator.weights_) + gaussian_log_density(estimator, rows)
    return _both_sides(expectations(q, log_joint), entropies(q), log_evidence)


def _bayesian(estimator, X, _groups, posterior):
    log_evidence = np.asarray(estimator.score_samples(X), np.float64)
    q = np.asarray(posterior.predict_proba(X), np.float64)
    log_joint = expected_log_joint(estimator, rows_of(X))
    return _both_sides(
        expectations(q, log_joint),
        entropies(q),
        log_evidence,
        global_kl=global_divergence(estimator),
    )


def _autoencoder(estimator, X, groups, _posterior):
    chain = {"groups": groups} if hasattr(estimator, "transmat_") else {}
    log_evidence, terms = estimator.score_samples(X, **chain), estimator.elbo(X, **chain)
    found = terms.elbo, terms.entropy, log_evidence, terms.standard_error
    parts = *found, estimator.standard_error(X, **chain)
    listed = isinstance(log_evidence, list)
    if listed:
        lengths, parts = list(map(len, log_evidence)), map(np.concatenate, parts)
    elbo, entropy, log_evidence, *errors = (np.asarray(part, np.float64) for part in parts)
    names = "elbo_error", "log_evidence_error"
    both = _both_sides(
        elbo - entropy, entropy, log_evidence, **dict(zip(names, errors, strict=True))
    )
    if not listed:
        return both
    ends = np.cumsum(lengths)[:-1]
    return ElboDecomposition(*(np.split(part, ends) if np.ndim(part) else part for part in both))


def _chain(estimator, X, groups, posterior):
    sequences, terms = chain_terms(estimator, X, groups, posterior)
    return ElboDecomposition(*map(sequences.in_form, _both_sides(*terms)[:5]))
