r"""The evidence of a Bayesian mixture by dual importance sampling.

The proposal averages conjugate distributions of :math:`\theta` given labels that a Gibbs sampler
drew, over all orders :math:`\sigma` of the components (Lee & Robert, Bayesian Anal. 11, 2016):

.. math:: q(\theta) = \sum_t \frac{c_t}{Z_t} \sum_\sigma p(\pi) \prod_k \pi_k^{n_{t\sigma(k)}}
          \mathrm{NW}(\mu_k, \Lambda_k \mid n, m, S_{t\sigma(k)}), \qquad
          Z_t = \sum_\sigma E \prod_k \pi_k^{n_{t\sigma(k)}} .

An order is chosen in proportion to its probability given the partition of the rows: with a
Dirichlet distribution all orders are alike, with sticks they are not. In both cases the prior of
the weights cancels in :math:`p(X, \theta) / q(\theta)`, and the sum over orders is the permanent of
a K × K matrix, which takes :math:`2^K K` steps and not K!.

Two parts of q are defensive, so that the weights are bounded where the chain has not been: the
distributions of some sweeps with half of the rows' statistics, and the prior.
"""

import numpy as np
from scipy.special import gammaln

from skvae.importance import log_evidence
from skvae.mixture.bayesian import gibbs_kernels as kernels
from skvae.mixture.bayesian.gibbs import (
    Conditionals,
    Draws,
    GibbsModel,
    fitted_sums,
    run_chain,
)

LARGEST = 10  # components
_SWEEPS, _CHAINS, _BURN_IN, _THIN = 1000, 4, 100, 4
_WIDER, _EVERY = 0.5, 2  # share of the statistics, and sweeps for each wider distribution
_SHARES = 0.75, 0.23, 0.02  # of the sweeps' distributions, the wider ones, and the prior
_COPIES = 8  # of a row with a large weight
_NUMBERS = 2**22  # pairs of a draw's and a distribution's component at a time


def evidence(posterior, X, weight, *, n_draws, rng):
    """Return the LogEvidence of rows, with the prior of a fit.

    Parameters
    ----------
    posterior : MixturePosterior
        The fit: the prior, and the start of a chain.
    X : ndarray of shape (n_samples, n_features)
        Rows, float64; NaN is missing.
    weight : ndarray of shape (n_samples,)
        Their weights: powers of their densities.
    n_draws : int
        The number of draws from the proposal.
    rng : numpy.random.Generator
        The source of randomness.
    """
    model = GibbsModel(posterior.prior, len(posterior.components.means))
    if model.n_components > LARGEST:
        raise ValueError(
            f"The fit has {model.n_components} components: log_evidence sums over all orders of "
            f"them, and needs {LARGEST} at most; fit fewer (moves=('merge',) removes "
            "superfluous ones), or compare elbo_"
        )
    proposal = Proposal(model, *_distributions(posterior, model, X, weight, rng))
    draws = proposal.draw(n_draws, rng)
    value = np.empty(n_draws)
    kernels.fill_log_likelihoods(X, weight, *draws, value)
    value += model.log_prior_of_components(draws) - proposal.log_ratio(draws)
    return log_evidence(value)


def _distributions(posterior, model, X, weight, rng):
    """Return the Conditionals of the proposal and ln of their shares."""
    copies = np.clip(np.ceil(weight), 1, _COPIES).astype(int)
    rows, share = np.repeat(X, copies, axis=0), np.repeat(weight / copies, copies)
    fitted, found = fitted_sums(posterior, model), []
    for chain in range(_CHAINS):
        start = tuple(part.copy() for part in fitted)
        if chain:
            start = _spread_start(start, rows, rng)
        each = {"n_burn_in": _BURN_IN, "n_draws": _SWEEPS // _CHAINS, "thin": _THIN}
        found.append(run_chain(rows, share, model, start, rng, **each)[1])
    sweeps = Conditionals(*(np.concatenate(parts) for parts in zip(*found, strict=True)))
    some = Conditionals(*(part[::_EVERY] for part in sweeps))
    parts = sweeps, model.tempered(some, _WIDER), model.prior_conditionals()
    log_shares = [
        np.full(len(part.counts), np.log(share / len(part.counts)))
        for part, share in zip(parts, _SHARES, strict=True)
    ]
    joined = Conditionals(*(np.concatenate(each) for each in zip(*parts, strict=True)))
    return joined, np.concatenate(log_shares)


def _spread_start(fitted, X, rng):
    """Return statistics of equal components around rows drawn at random, as wide as the fit's."""
    counts, _, scatter, centers = fitted
    n_components = len(counts)
    chosen = X[rng.integers(len(X), size=n_components)]
    centers = np.where(np.isnan(chosen), centers, chosen)
    scatter = np.repeat(scatter.mean(axis=0, keepdims=True), n_components, axis=0)
    counts = np.full(n_components, counts.mean())
    return counts, np.zeros_like(centers), scatter, centers


class Proposal:
    """The mixture of conjugate distributions, symmetric in the components as the posterior is.

    Parameters
    ----------
    model : GibbsModel
        The prior.
    given : Conditionals
        T distributions.
    log_shares : ndarray of shape (T,)
        ln of their shares.
    """

    def __init__(self, model, given, log_shares):
        self._model, self._given, self._log_shares = model, given, log_shares
        n_given, K = given.counts.shape
        if model.sticks:
            self._log_orders = np.empty((n_given, 1 << K))
            kernels.fill_log_orders(given.counts, model.concentration, self._log_orders)
            self._log_z = self._log_orders[:, -1]
            return
        a = model.concentration
        rows = (gammaln(a + given.counts) - gammaln(a)).sum(axis=1)
        total = gammaln(K * a) - gammaln(K * a + given.counts.sum(axis=1))
        self._log_z = gammaln(K + 1.0) + rows + total

    def draw(self, n_draws, rng):
        """Return Draws; of a Dirichlet distribution in one order, as all orders are alike."""
        model, draws = self._model, Draws.empty(n_draws, *self._model.shape)
        order = np.arange(model.n_components)
        shares = np.exp(self._log_shares)
        chosen = rng.choice(len(shares), size=n_draws, p=shares / shares.sum())
        for s, t in enumerate(chosen):
            if model.sticks:
                counts, log_orders = self._given.counts[t], self._log_orders[t]
                kernels.draw_order(counts, model.concentration, log_orders, rng, order)
            one = tuple(part[t][order] for part in self._given)
            kernels.draw_parameters(one, model.kernel_prior, rng, tuple(part[s] for part in draws))
        return draws

    def log_ratio(self, draws):
        """Return ln [q(θ) / p(π)] of draws, shape (S,)."""
        own, of_all = self._model.features(draws)
        coefficients, constants, of_all_given, all_constants = self._model.coefficients(self._given)
        n_draws, K, n_given = len(own), own.shape[1], len(coefficients)
        flat = coefficients.reshape(n_given * K, -1).T
        offset = self._log_shares - self._log_z + all_constants
        out, size = np.empty(n_draws), max(1, _NUMBERS // (K * K * n_given))
        for start in range(0, n_draws, size):
            part = slice(start, min(start + size, n_draws))
            pairs = own[part].reshape(-1, own.shape[2]) @ flat + constants.ravel()
            logs = of_all[part] @ of_all_given.T + offset
            kernels.add_log_permanents(pairs.reshape(-1, K, n_given, K), logs)
            top = logs.max(axis=1)
            out[part] = top + np.log(np.exp(logs - top[:, None]).sum(axis=1))
        return out
