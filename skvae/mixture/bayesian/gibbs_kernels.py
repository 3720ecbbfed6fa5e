r"""Sweeps of a Gibbs sampler for a Bayesian Gaussian mixture, compiled.

A sweep draws the parameters given the labels, then the labels given the parameters:

.. math:: \pi, \mu, \Lambda \mid X, z \sim p(\pi \mid n) \prod_k \mathrm{NW}(\mu_k, \Lambda_k \mid
          n_k, m_k, S_k), \qquad p(z_n = k \mid x_n, \theta) \propto \pi_k N(x_n \mid \mu_k,
          \Lambda_k^{-1}).

Missing values are integrated out of the labels' probabilities, and drawn given the label. Sticks
have a third part: labels of neighbours are exchanged, a Metropolis step in which the weights are
integrated out (Papaspiliopoulos & Roberts, Biometrika 95, 2008).

All four covariance types have arrays of one form (K, R, D): with R = D the lower triangular ``W``
of :math:`\Lambda = W^T W`, and with R = 1 the square roots of the diagonal of Λ. Labels are not
kept: statistics about the means that the labels were drawn from contain all that is needed.

``sums`` is the tuple (counts (K,), sums (K, D), scatter (K, R, D), centers (K, D)), ``theta`` the
tuple (log_weights (K + 1,), means (K, D), factors (K, R, D)), ``given`` the tuple (counts (K,),
means (K, D), scales (K, R, D)) of the conditional distribution of θ; all are filled in place.
``prior`` is the tuple (form, sticks, concentration, mean precision, mean (D,), degrees of freedom,
scale (R, D)). The last of ``log_weights`` is that of the remainder, −inf of a Dirichlet
distribution.
"""

import math

import numpy as np

from skvae.chain.compilation import compiled, shared

FORMS = {"full": 0, "tied": 1, "diag": 2, "spherical": 3}
_TIED, _DIAG, _SPHERICAL = FORMS["tied"], FORMS["diag"], FORMS["spherical"]
_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)
_LEAST = 1e-200  # of a Gamma draw: its square root divides a normal draw


@compiled
def _log_gamma_draw(shape, rng):
    """Return ln of a draw of Gamma(shape, 1), finite for small shapes too."""
    if shape >= 1.0:
        return math.log(rng.standard_gamma(shape))
    # G(a) = G(a + 1) U^(1/a)
    return math.log(rng.standard_gamma(shape + 1.0)) - rng.standard_exponential() / shape


@compiled
def _draw_weights(counts, prior, rng, log_weights):
    sticks, concentration = prior[1], prior[2]
    n_components = len(counts)
    if not sticks:
        top = -np.inf
        for k in range(n_components):
            log_weights[k] = _log_gamma_draw(concentration + counts[k], rng)
            top = max(top, log_weights[k])
        total = 0.0
        for k in range(n_components):
            total += math.exp(log_weights[k] - top)
        for k in range(n_components):
            log_weights[k] -= top + math.log(total)
        log_weights[n_components] = -np.inf
        return
    after, left = counts.sum(), 0.0
    for k in range(n_components):
        after = max(after - counts[k], 0.0)
        first = _log_gamma_draw(1.0 + counts[k], rng)
        second = _log_gamma_draw(concentration + after, rng)
        top = max(first, second)
        total = top + math.log(math.exp(first - top) + math.exp(second - top))
        log_weights[k] = left + first - total
        left += second - total
    log_weights[n_components] = left


@compiled
def _draw_factor(scale, dof, form, rng, factor):
    """Fill W, (R, D), of a draw of Λ; return False if the scale is singular."""
    n_features = scale.shape[1]
    if form == _SPHERICAL:
        gamma = max(2.0 * rng.standard_gamma(0.5 * dof), _LEAST)
        factor[0] = math.sqrt(gamma / scale[0, 0])
        return scale[0, 0] > 0.0
    if form == _DIAG:
        positive = True
        for j in range(n_features):
            gamma = max(2.0 * rng.standard_gamma(0.5 * dof), _LEAST)
            factor[0, j] = math.sqrt(gamma / scale[0, j])
            positive = positive and scale[0, j] > 0.0
        return positive
    # S = C Cᵀ; with Bartlett's B, Bᵀ B ~ Wishart(ν, I), W = B C⁻¹.
    lower = np.empty((n_features, n_features))
    for i in range(n_features):
        for j in range(i + 1):
            value = scale[i, j]
            for m in range(j):
                value -= lower[i, m] * lower[j, m]
            if i > j:
                lower[i, j] = value / lower[j, j]
            elif value > 0.0:
                lower[i, i] = math.sqrt(value)
            else:
                return False
    for i in range(n_features):
        gamma = 2.0 * rng.standard_gamma(0.5 * (dof - (n_features - 1 - i)))
        factor[i, i] = math.sqrt(max(gamma, _LEAST))
        for j in range(i):
            factor[i, j] = rng.standard_normal()
        for j in range(i, -1, -1):
            value = factor[i, j]
            for m in range(j + 1, i + 1):
                value -= factor[i, m] * lower[m, j]
            factor[i, j] = value / lower[j, j]
    return True


@compiled
def draw_parameters(given, prior, rng, theta):
    """Draw θ from its conditional distribution, in place; return False if a scale is singular."""
    counts, posterior_means, scales = given
    form, beta0, dof0 = prior[0], prior[3], prior[5]
    log_weights, means, factors = theta
    n_components, n_rows, n_features = scales.shape
    _draw_weights(counts, prior, rng, log_weights)
    regular = True
    for k in range(n_components):
        if form == _TIED and k > 0:
            factors[k] = factors[0]
        else:
            dof = dof0 + counts[k]
            if form == _TIED:
                dof = dof0 + counts.sum()
            elif form == _SPHERICAL:
                dof = dof0 + n_features * counts[k]
            regular = _draw_factor(scales[k], dof, form, rng, factors[k]) and regular
        width = 1.0 / math.sqrt(beta0 + counts[k])
        for i in range(n_features):
            value = rng.standard_normal() * width
            if n_rows == 1:
                value /= factors[k, 0, i]
            else:  # W (μ − m) = noise, row by row
                for j in range(i):
                    value -= factors[k, i, j] * (means[k, j] - posterior_means[k, j])
                value /= factors[k, i, i]
            means[k, i] = posterior_means[k, i] + value
    return regular


@compiled
def condition(sums, prior, given):
    """Fill the conjugate conditional distribution of θ for statistics, in place."""
    counts, totals, scatter, centers = sums
    form, beta0, mean0, scale0 = prior[0], prior[3], prior[4], prior[6]
    given_counts, means, scales = given
    n_components, n_rows, n_features = scatter.shape
    shift, away = np.empty(n_features), np.empty(n_features)
    given_counts[:] = counts
    for k in range(n_components):
        own = 0 if form == _TIED else k
        if own == k:
            scales[k] = scale0
        n, beta = counts[k], beta0 + counts[k]
        for j in range(n_features):
            apart = centers[k, j] - mean0[j]
            shift[j] = (totals[k, j] - beta0 * apart) / beta
            means[k, j] = centers[k, j] + shift[j]
            away[j] = apart + shift[j]
        # The scatter about the new mean, and that of the prior's rows.
        for i in range(n_rows):
            for j in range(n_features if n_rows == 1 else i + 1):
                a = j if n_rows == 1 else i
                value = scatter[k, i, j] - totals[k, a] * shift[j] - shift[a] * totals[k, j]
                value += n * shift[a] * shift[j] + beta0 * away[a] * away[j]
                into = 0 if form == _SPHERICAL else j
                scales[own, i, into] += value
    if form == _SPHERICAL:
        for k in range(n_components):
            scales[k, 0, 1:] = scales[k, 0, 0]
    for k in range(n_components):
        if form == _TIED and k > 0:
            scales[k] = scales[0]
        elif n_rows > 1:
            for i in range(n_rows):
                for j in range(i):
                    scales[k, j, i] = scales[k, i, j]


@compiled
def _exchange(sums, concentration, rng):
    """Exchange labels of neighbouring sticks, so that larger ones tend to come first, in place."""
    counts, totals, scatter, centers = sums
    n_components = len(counts)
    after = counts.sum() - counts[0]
    for k in range(n_components - 1):
        after = max(after - counts[k + 1], 0.0)  # rows of the sticks after both
        ratio = (concentration + counts[k + 1] + after) / (concentration + counts[k] + after)
        if rng.random() < ratio:
            counts[k], counts[k + 1] = counts[k + 1], counts[k]
            for j in range(totals.shape[1]):
                totals[k, j], totals[k + 1, j] = totals[k + 1, j], totals[k, j]
                centers[k, j], centers[k + 1, j] = centers[k + 1, j], centers[k, j]
                for i in range(scatter.shape[1]):
                    one, other = scatter[k, i, j], scatter[k + 1, i, j]
                    scatter[k, i, j], scatter[k + 1, i, j] = other, one


@compiled
def _condition_gaps(deviations, factors, k, gaps, n_gaps, root, shift):
    """Fill the Cholesky root of Λ_mm and its solution of Λ_mo d_o, for missing features m.

    Deviations are zero at the missing features. Return ln det of the root, and the part of dᵀ Λ d
    that the missing features explain.
    """
    n_features = factors.shape[2]
    log_det, explained = 0.0, 0.0
    for a in range(n_gaps):
        for b in range(a + 1):
            i, j = gaps[a], gaps[b]
            value = 0.0
            for m in range(max(i, j), n_features):
                value += factors[k, m, i] * factors[k, m, j]
            for m in range(b):
                value -= root[a, m] * root[b, m]
            if a == b:
                root[a, a] = math.sqrt(max(value, _LEAST))
            else:
                root[a, b] = value / root[b, b]
        log_det += math.log(root[a, a])
        value = 0.0
        for m in range(gaps[a], n_features):
            white = 0.0
            for j in range(m + 1):
                white += factors[k, m, j] * deviations[k, j]
            value += factors[k, m, gaps[a]] * white
        for m in range(a):
            value -= root[a, m] * shift[m]
        shift[a] = value / root[a, a]
        explained += shift[a] * shift[a]
    return log_det, explained


@compiled
def _fill_gaps(deviations, factors, k, gaps, n_gaps, root, shift, rng):
    """Draw the missing entries of a component's deviation given the others, in place."""
    if factors.shape[1] == 1:
        for a in range(n_gaps):
            deviations[k, gaps[a]] = rng.standard_normal() / factors[k, 0, gaps[a]]
        return
    _condition_gaps(deviations, factors, k, gaps, n_gaps, root, shift)
    for a in range(n_gaps - 1, -1, -1):
        value = rng.standard_normal() - shift[a]
        for m in range(a + 1, n_gaps):
            value -= root[m, a] * deviations[k, gaps[m]]
        deviations[k, gaps[a]] = value / root[a, a]


@shared
def _log_joints(X, n, theta, constants, gaps, deviations, root, shift, out):
    """Fill ln π_k + ln N(x_o) of row n and its deviations; return the number of missing values.

    Deviations are zero where a value is missing.
    """
    _, means, factors = theta
    n_components, n_rows, n_features = factors.shape
    n_gaps = 0
    for j in range(n_features):
        if math.isnan(X[n, j]):
            gaps[n_gaps] = j
            n_gaps += 1
    for k in range(n_components):
        for j in range(n_features):
            deviations[k, j] = X[n, j] - means[k, j]
        for a in range(n_gaps):
            deviations[k, gaps[a]] = 0.0
        distance = 0.0
        for i in range(n_features):
            white = 0.0
            if n_rows == 1:
                white = factors[k, 0, i] * deviations[k, i]
            else:
                for j in range(i + 1):
                    white += factors[k, i, j] * deviations[k, j]
            distance += white * white
        value = constants[k] - 0.5 * distance
        if n_gaps > 0:
            value += n_gaps * _HALF_LOG_2PI
            if n_rows == 1:
                for a in range(n_gaps):
                    value -= math.log(factors[k, 0, gaps[a]])
            else:
                log_det, explained = _condition_gaps(
                    deviations, factors, k, gaps, n_gaps, root, shift
                )
                value += 0.5 * explained - log_det
        out[k] = value
    return n_gaps


@compiled
def _constants(theta, out):
    """Fill ln π_k + ln N(μ_k | μ_k, Λ_k⁻¹) of all components."""
    log_weights, _, factors = theta
    n_components, n_rows, n_features = factors.shape
    for k in range(n_components):
        value = log_weights[k] - n_features * _HALF_LOG_2PI
        for j in range(n_features):
            value += math.log(factors[k, 0 if n_rows == 1 else j, j])
        out[k] = value


@compiled
def _assign(X, weight, theta, rng, sums):
    """Draw labels, and missing values; fill their statistics and return ln p(X | θ)."""
    _, means, factors = theta
    counts, totals, scatter, centers = sums
    n_components, n_rows, n_features = factors.shape
    constants, logs = np.empty(n_components), np.empty(n_components)
    deviations, gaps = np.empty((n_components, n_features)), np.empty(n_features, dtype=np.int64)
    root, shift = np.empty((n_features, n_features)), np.empty(n_features)
    _constants(theta, constants)
    counts[:] = 0.0
    totals[:] = 0.0
    scatter[:] = 0.0
    centers[:] = means
    log_likelihood = 0.0
    for n in range(len(X)):
        n_gaps = _log_joints(X, n, theta, constants, gaps, deviations, root, shift, logs)
        top = -np.inf
        for k in range(n_components):
            top = max(top, logs[k])
        total = 0.0
        for k in range(n_components):
            logs[k] = math.exp(logs[k] - top) if logs[k] < top else 1.0
            total += logs[k]
        log_likelihood += weight[n] * (top + math.log(total))
        left, chosen = rng.random() * total, n_components - 1
        for k in range(n_components):
            left -= logs[k]
            if left < 0.0:
                chosen = k
                break
        if n_gaps > 0:
            _fill_gaps(deviations, factors, chosen, gaps, n_gaps, root, shift, rng)
        counts[chosen] += weight[n]
        for j in range(n_features):
            part = weight[n] * deviations[chosen, j]
            totals[chosen, j] += part
            if n_rows == 1:
                scatter[chosen, 0, j] += part * deviations[chosen, j]
            else:
                for i in range(j + 1):
                    scatter[chosen, j, i] += part * deviations[chosen, i]
    return log_likelihood


@compiled
def fill_log_likelihoods(X, weight, log_weights, means, factors, out):
    """Fill ln p(X | θ) of draws of θ, shape (S,); NaN in X is missing.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        The rows.
    weight : ndarray of shape (n,)
        Their weights.
    log_weights, means, factors : ndarray of shape (S, K + 1), (S, K, D) and (S, K, R, D)
        The draws.
    out : ndarray of shape (S,)
        The result, in nats.
    """
    n_components, n_features = means.shape[1:]
    constants, logs = np.empty(n_components), np.empty(n_components)
    deviations, gaps = np.empty((n_components, n_features)), np.empty(n_features, dtype=np.int64)
    root, shift = np.empty((n_features, n_features)), np.empty(n_features)
    for s in range(len(out)):
        theta = (log_weights[s], means[s], factors[s])
        _constants(theta, constants)
        out[s] = 0.0
        for n in range(len(X)):
            _log_joints(X, n, theta, constants, gaps, deviations, root, shift, logs)
            top = logs.max()
            total = 0.0
            for k in range(n_components):
                total += math.exp(logs[k] - top)
            out[s] += weight[n] * (top + math.log(total))


@compiled
def sweep(X, weight, prior, thin, rng, sums, draws, given, log_likelihoods):
    """Make sweeps, and store each ``thin``-th draw; return False if a scale was singular.

    Parameters
    ----------
    X : ndarray of shape (n, D)
        The rows; NaN is missing.
    weight : ndarray of shape (n,)
        Their weights.
    prior : tuple
        See the module.
    thin : int
        The number of sweeps for each stored draw.
    rng : numpy.random.Generator
        The source of randomness.
    sums : tuple
        The statistics to start from; they are those after the last sweep in the end.
    draws, given : tuple
        θ of all stored draws, and their conditional distributions: arrays as in the module, with
        an additional first axis.
    log_likelihoods : ndarray of shape (S,)
        Filled with ln p(X | θ).
    """
    for s in range(len(log_likelihoods)):
        theta = (draws[0][s], draws[1][s], draws[2][s])
        conditional = (given[0][s], given[1][s], given[2][s])
        for _ in range(thin):
            if prior[1]:
                _exchange(sums, prior[2], rng)
            condition(sums, prior, conditional)
            if not draw_parameters(conditional, prior, rng, theta):
                return False
            log_likelihoods[s] = _assign(X, weight, theta, rng, sums)
    return True


# Sums over the orders of the components -----------------------------------------------------------


@compiled
def _log_first_stick(count, after, concentration):
    """Return ln of E v^count (1 − v)^after for v ~ Beta(1, γ)."""
    value = math.lgamma(1.0 + count) + math.lgamma(concentration + after)
    return value - math.lgamma(1.0 + concentration + count + after) + math.log(concentration)


@compiled
def fill_log_orders(counts, concentration, out):
    """Fill ln of the sum over all orders σ of E ∏ π_k^n_σ(k) for sticks, in nats.

    Parameters
    ----------
    counts : ndarray of shape (T, K)
        Rows of each component.
    concentration : float
        γ.
    out : ndarray of shape (T, 2**K)
        Entry ``members`` is the sum over the orders of a set of components in the last places. The
        last entry is that of all components.
    """
    n_components = counts.shape[1]
    values = np.empty(n_components)
    for t in range(len(counts)):
        out[t, 0] = 0.0
        for members in range(1, 1 << n_components):
            rows, top, total = 0.0, -np.inf, 0.0
            for k in range(n_components):
                if members >> k & 1:
                    rows += counts[t, k]
            for k in range(n_components):
                values[k] = -np.inf
                if members >> k & 1:
                    after = max(rows - counts[t, k], 0.0)
                    stick = _log_first_stick(counts[t, k], after, concentration)
                    values[k] = out[t, members ^ (1 << k)] + stick
                    top = max(top, values[k])
            for k in range(n_components):
                total += math.exp(values[k] - top)
            out[t, members] = top + math.log(total)


@compiled
def draw_order(counts, concentration, log_orders, rng, order):
    """Draw an order of sticks given the rows of each component, in place.

    ``log_orders`` is one row of the result of :func:`fill_log_orders`.
    """
    n_components = len(counts)
    members = (1 << n_components) - 1
    rows = counts.sum()
    for place in range(n_components):
        left, chosen = rng.random(), -1
        for k in range(n_components):
            if members >> k & 1:
                after = max(rows - counts[k], 0.0)
                stick = _log_first_stick(counts[k], after, concentration)
                left -= math.exp(log_orders[members ^ (1 << k)] + stick - log_orders[members])
                chosen = k
                if left < 0.0:
                    break
        order[place] = chosen
        members ^= 1 << chosen
        rows = max(rows - counts[chosen], 0.0)


@compiled
def add_log_permanents(pairs, out):
    """Add ln of the sum over all orders σ of ∏ exp(pairs[k, σ(k)]) to ``out``, in place.

    Sums over subsets take 2^K K steps in place of K!.

    Parameters
    ----------
    pairs : ndarray of shape (S, K, T, K)
        Log values of each of S draws, its component, each of T distributions, and its component.
    out : ndarray of shape (S, T)
        In nats.
    """
    n_draws, n_components, n_given = pairs.shape[:3]
    values = np.empty((n_components, n_components))
    sums = np.empty(1 << n_components)
    for s in range(n_draws):
        for t in range(n_given):
            shift = 0.0
            for k in range(n_components):
                top = -np.inf
                for j in range(n_components):
                    top = max(top, pairs[s, k, t, j])
                shift += top
                for j in range(n_components):
                    values[k, j] = math.exp(pairs[s, k, t, j] - top)
            sums[0] = 1.0
            for members in range(1, 1 << n_components):
                size = 0
                for j in range(n_components):
                    size += members >> j & 1
                total = 0.0
                for j in range(n_components):
                    if members >> j & 1:
                        total += values[size - 1, j] * sums[members ^ (1 << j)]
                sums[members] = total
            out[s, t] += shift + math.log(sums[-1])
