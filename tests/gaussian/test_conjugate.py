"""Conjugate priors by value: textbook updates, scipy's distributions, exact evidence, limits."""

import mpmath
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import multigammaln
from scipy.stats import invgamma, multivariate_normal, t, wishart

from skvae.ascent.loop import Collapse
from skvae.gaussian.conjugate import NormalWishart
from skvae.gaussian.covariance import STRUCTURES
from skvae.gaussian.kernel import gaussian_kernel
from skvae.gaussian.precisions import PRECISIONS
from tests.gaussian.conjugate_problems import (
    D,
    K,
    log_prob,
    matrices,
    natural,
    posterior_of,
    prior_of,
    rows_and_resp,
    shaped,
    statistics_of,
)
from tests.posterior_draws import draws_of_components, expected_log_det, take
from tests.problems import COVARIANCE_TYPES
from tests.strategies import covariance_types, seeds

every_kind = pytest.mark.parametrize("kind", COVARIANCE_TYPES)


def same(a, b, **tolerance):
    for left, right in zip(a[1:], b[1:], strict=True):
        np.testing.assert_allclose(left, right, **tolerance)


# Updates ------------------------------------------------------------------------------------------


@every_kind
def test_posterior_is_the_textbooks(kind):
    """Bishop 10.60 to 10.63 from raw sums, in the structure's shape."""
    prior, posterior, _ = posterior_of(kind)
    X, resp = rows_and_resp()
    beta, first, dofs, second = natural(prior)
    raw = statistics_of(kind, X, resp, np.zeros((K, D)))
    found = natural(posterior)
    np.testing.assert_allclose(found[0], beta + raw.counts, rtol=1e-14)
    np.testing.assert_allclose(found[1], first + raw.sums, rtol=1e-12)
    grown = {"tied": len(X), "spherical": D * raw.counts}.get(kind, raw.counts)
    np.testing.assert_allclose(found[2], dofs + grown, rtol=1e-14)
    scatter = raw.scatter * (D if kind == "spherical" else 1)
    np.testing.assert_allclose(found[3], second + scatter, rtol=1e-12)


@every_kind
def test_factors_and_expectations_are_of_the_scale(kind):
    _, q, _ = posterior_of(kind)
    dofs = q.dofs.reshape(q.dofs.shape + (1,) * (q.scales.ndim - q.dofs.ndim))
    np.testing.assert_allclose(q.covariances, q.scales / dofs)
    np.testing.assert_allclose(q.precisions, q.structure.inverse(q.covariances), rtol=1e-10)
    if kind in ("full", "tied"):
        np.testing.assert_array_equal(q.precisions_cholesky, np.triu(q.precisions_cholesky))


@given(covariance_types, seeds, st.floats(0.01, 100.0), st.floats(0.0, 100.0))
def test_natural_parameters_are_linear_in_statistics(kind, seed, a, b):
    prior = prior_of(kind, seed=seed)
    one = statistics_of(kind, *rows_and_resp(seed=seed))
    two = statistics_of(kind, *rows_and_resp(seed=seed + 1))
    both = natural(prior.posterior(a * one + b * two))
    start = natural(prior)
    parts = natural(prior.posterior(one)), natural(prior.posterior(two))
    for found, zero, left, right in zip(both, start, *parts, strict=True):
        expected = zero + a * (left - zero) + b * (right - zero)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@given(covariance_types, seeds)
def test_a_posterior_is_the_prior_of_what_follows(kind, seed):
    prior = prior_of(kind, seed=seed)
    one = statistics_of(kind, *rows_and_resp(seed=seed))
    two = statistics_of(kind, *rows_and_resp(seed=seed + 1))
    again = prior.posterior(one).posterior(two)
    same(again, prior.posterior(one + two), rtol=1e-9, atol=1e-10)


@given(covariance_types, seeds)
def test_statistics_are_what_a_posterior_added_to_its_prior(kind, seed):
    prior, q, given = posterior_of(kind, seed=seed)
    statistics = q.statistics(prior, given.counts)
    about = given.recenter(statistics.centers)
    for name in ("counts", "sums", "scatter"):
        ours, theirs = getattr(statistics, name), getattr(about, name)
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-9, err_msg=name)
    same(prior.posterior(statistics), q, rtol=1e-9, atol=1e-10)


@every_kind
def test_no_rows_leave_the_prior_with_thousands_of_components(kind):
    prior = prior_of(kind, 5000)
    empty = statistics_of(kind, np.zeros((1, D)), np.zeros((1, 5000)))
    posterior = prior.posterior(empty)
    same(posterior, prior, rtol=1e-12)
    assert abs(posterior.kl(prior)) < 1e-8
    assert prior.kl(take(prior, np.arange(5000))) == pytest.approx(0.0, abs=1e-9)


def test_a_singular_scale_is_a_collapse():
    with pytest.raises(Collapse, match="singular"):
        NormalWishart.prior("full", 2, 1.0, np.zeros(2), 3.0, np.ones((2, 2)))


# Expectations -------------------------------------------------------------------------------------


@every_kind
def test_expected_log_determinant_is_the_slope_of_the_normaliser(kind):
    """E ln|Λ| = 2 d/dν of ln Γ_D(ν/2) + ν/2 (D ln 2 − ln|S|)."""
    _, q, _ = posterior_of(kind)
    full, step = kind in ("full", "tied"), 1e-4
    log_det = {"diag": lambda S: np.log(S).sum(-1), "spherical": np.log}.get(
        kind, lambda S: np.linalg.slogdet(S)[1]
    )(q.scales)
    size, copies = (D, 1) if full else (1, D if kind == "diag" else 1)

    def normaliser(dofs):
        gammas = np.array([multigammaln(v / 2, size) for v in np.ravel(dofs)]).reshape(dofs.shape)
        return copies * gammas + dofs / 2 * (copies * size * np.log(2) - log_det)

    slope = (normaliser(q.dofs + step) - normaliser(q.dofs - step)) / step
    expected = slope * (D if kind == "spherical" else 1)
    np.testing.assert_allclose(expected_log_det(q), expected, rtol=1e-6, atol=1e-6)


def kernel_of(q):
    def spread():
        return np.zeros(q.means.shape[1]), np.ones(q.means.shape[1])

    offsets = np.broadcast_to(q.offsets(), len(q.means))
    return gaussian_kernel(q.covariance_type, q.means, q.precisions_cholesky, offsets, spread)


def expected_log_normal(q, X):
    """E ln N(x | μ, Λ⁻¹) by the kernel, (n, K)."""
    kernel, out = kernel_of(q), np.empty((len(X), len(q.means)))
    for rows, block in kernel.blocks(X, kernel.workspace()):
        out[rows] = block.log_density().T
    return out


@every_kind
def test_kernel_is_the_expected_log_density(kind):
    """E (x−μ)ᵀΛ(x−μ) = D/β + (x−m)ᵀ E[Λ] (x−m), with E ln|Λ|; and by Monte Carlo."""
    _, q, _ = posterior_of(kind)
    X, _ = rows_and_resp(5)
    found = expected_log_normal(q, X)
    precisions = matrices(q.precisions, kind, K, D)
    log_det = np.broadcast_to(expected_log_det(q), K)
    means, factors = draws_of_components(q, 20_000, np.random.default_rng(0))
    drawn = matrices(q.structure.precisions(factors), kind, K, D)
    for k in range(K):
        deviation = X - q.means[k]
        distance = np.einsum("ni,ij,nj->n", deviation, precisions[k], deviation)
        constant = log_det[k] - D * np.log(2 * np.pi) - D / q.mean_precisions[k]
        np.testing.assert_allclose(found[:, k], 0.5 * (constant - distance), rtol=1e-10)
        away = X[:, None] - means[:, k]
        values = 0.5 * (np.linalg.slogdet(drawn[:, k])[1] - D * np.log(2 * np.pi))
        values = values - 0.5 * np.einsum("nsi,sij,nsj->ns", away, drawn[:, k], away)
        error = values.std(axis=1) / np.sqrt(values.shape[1])
        assert (np.abs(values.mean(axis=1) - found[:, k]) < 5 * error).all()


@every_kind
def test_energy_is_the_sum_over_rows(kind):
    _, q, statistics = posterior_of(kind)
    X, resp = rows_and_resp()
    expected = (resp * expected_log_normal(q, X)).sum()
    np.testing.assert_allclose(q.energy(statistics), expected, rtol=1e-11)
    np.testing.assert_allclose(q.energy(2.5 * statistics), 2.5 * expected, rtol=1e-11)


@pytest.mark.parametrize("dof", [1e3, 1e8, 1e14])
@every_kind
def test_certain_posteriors_have_no_offsets(kind, dof):
    """½(E ln|Λ| − ln|E Λ|) − D/(2β) → 0 like 1/ν: no cancellation shows."""
    prior = prior_of(kind, dof=dof)._replace(mean_precisions=np.full(K, dof))
    size = D if kind in ("full", "tied") else 1
    first_order = -0.5 * D / dof * (1 + (size + 1) / 2)
    np.testing.assert_allclose(prior.offsets(), np.full(K, first_order), rtol=10 / dof + 1e-12)


# Divergence and evidence --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["full", "tied"])
def test_the_density_of_draws_is_scipys(kind):
    _, q, _ = posterior_of(kind, n=15)
    means, factors = draws_of_components(q, 3, np.random.default_rng(1))
    for mean, precision, found in zip(
        means, q.structure.precisions(factors), log_prob(q, means, factors), strict=True
    ):
        total = 0.0
        for k, matrix in enumerate(matrices(precision, kind, K, D)):
            covariance = np.linalg.inv(matrix) / q.mean_precisions[k]
            total += multivariate_normal(q.means[k], covariance).logpdf(mean[k])
            if kind == "full":
                total += wishart(q.dofs[k], np.linalg.inv(q.scales[k])).logpdf(matrix)
        if kind == "tied":
            total += wishart(float(q.dofs), np.linalg.inv(q.scales)).logpdf(precision)
        np.testing.assert_allclose(found, total, rtol=1e-11)


@every_kind
def test_kl_is_the_mean_log_ratio_of_draws(kind):
    prior, q, _ = posterior_of(kind, n=15)
    means, factors = draws_of_components(q, 1500, np.random.default_rng(1))
    ratio = log_prob(q, means, factors) - log_prob(prior, means, factors)
    assert abs(ratio.mean() - q.kl(prior)) < 4 * ratio.std() / np.sqrt(len(ratio))
    assert ratio.std() / np.sqrt(len(ratio)) < 0.02 * q.kl(prior)


@given(covariance_types, seeds)
def test_kl_is_positive_and_zero_of_itself(kind, seed):
    prior, q, _ = posterior_of(kind, seed=seed)
    assert q.kl(prior) > 0
    assert prior.kl(q) > 0
    assert abs(q.kl(q)) < 1e-10
    parts = q.kl_means(prior), q.kl_precisions(prior)
    assert parts[0].shape == (K,)
    assert parts[1].shape == (() if kind == "tied" else (K,))
    assert q.kl(prior) == pytest.approx(sum(part.sum() for part in parts), rel=1e-14)


def precise_kl(size, ratio, dof, other):
    """KL of Wisharts with scales I and ratio · I, to forty digits."""
    with mpmath.workdps(40):
        nu, nu0, r = mpmath.mpf(dof), mpmath.mpf(other), mpmath.mpf(ratio)
        total = nu0 / 2 * size * -mpmath.log(r) + nu / 2 * size * (r - 1)
        for i in range(size):
            x, y = (nu - i) / 2, (nu0 - i) / 2
            total += mpmath.loggamma(y) - mpmath.loggamma(x) + (x - y) * mpmath.digamma(x)
        return float(total)


@pytest.mark.parametrize(
    ("dof", "other"), [(3.5, 2.5), (1e6, 2.5), (1e13, 3.0), (1e12, 0.9e12), (7.0, 1e9)]
)
@every_kind
def test_kl_of_any_degrees_of_freedom_to_forty_digits(kind, dof, other):
    """Terms of the size of ν ln ν do not show, be ν 1e13."""
    ratio, mean = other / dof * 1.25, np.zeros((1, 2))
    pair = []
    for nu, scale in ((dof, 1.0), (other, ratio)):
        scales = shaped(scale * np.eye(2), kind)
        pair.append(NormalWishart.prior(kind, 1, 1.0, mean[0], nu, scales))
    size, copies = {"full": (2, 1), "tied": (2, 1), "diag": (1, 2), "spherical": (1, 1)}[kind]
    expected = copies * precise_kl(size, ratio, dof, other)
    np.testing.assert_allclose(
        pair[0].kl(pair[1]), expected, rtol=1e-12, atol=1e-12 + 1e-15 * other
    )


@every_kind
def test_kl_of_components_adds_up_over_single_ones(kind):
    prior, q, _ = posterior_of(kind)
    each = [take(q, [k]).kl_means(take(prior, [k]))[0] for k in range(K)]
    np.testing.assert_allclose(q.kl_means(prior), each, rtol=1e-12)
    if kind != "tied":
        each = [take(q, [k]).kl_precisions(take(prior, [k]))[0] for k in range(K)]
        np.testing.assert_allclose(q.kl_precisions(prior), each, rtol=1e-12)


def log_evidence(prior, q, n):
    """ln p(X) of n rows of one component, by the ratio of normalisers."""

    def normaliser(p):
        dof, scales = float(np.ravel(p.dofs)[0]), np.ravel(p.scales)
        if p.covariance_type in ("full", "tied"):
            return multigammaln(dof / 2, D) - dof / 2 * np.linalg.slogdet(p.scales)[1].item()
        return sum(multigammaln(dof / 2, 1) - dof / 2 * np.log(scale) for scale in scales)

    constant = 0.5 * D * np.log(prior.mean_precisions[0] / q.mean_precisions[0])
    return constant - 0.5 * n * D * np.log(np.pi) + normaliser(q) - normaliser(prior)


@given(covariance_types, seeds)
def test_elbo_of_one_component_is_the_log_evidence(kind, seed):
    prior, q, statistics = posterior_of(kind, seed=seed, n_components=1)
    elbo = q.energy(statistics) - q.kl(prior)
    np.testing.assert_allclose(elbo, log_evidence(prior, q, 40), rtol=1e-10)


@every_kind
def test_posterior_maximises_the_bound(kind):
    """energy − KL falls in every direction, and its slope by finite differences is zero."""
    prior, q, statistics = posterior_of(kind)
    rng = np.random.default_rng(0)

    def bound(step, direction):
        beta, m, nu, S = direction
        if S.ndim > 1 and kind in ("full", "tied"):
            S = 0.5 * (S + np.swapaxes(S, -1, -2))
        moved = NormalWishart.of(
            kind,
            q.mean_precisions * np.exp(step * beta),
            q.means + step * m,
            q.dofs * np.exp(step * nu),
            q.scales + step * S,
        )
        return moved.energy(statistics) - moved.kl(prior)

    for _ in range(8):
        parts = (q.mean_precisions, q.means, q.dofs, q.scales)
        direction = [rng.normal(size=np.shape(part)) for part in parts]
        best, above, below = (bound(step, direction) for step in (0.0, 1e-4, -1e-4))
        assert max(above, below) < best
        curvature = 2 * best - above - below
        assert abs(above - below) < 0.01 * curvature + 1e-9


@pytest.mark.parametrize("n_features", [1, 4])
def test_structures_agree_where_they_are_one_model(n_features):
    """One feature and one component: all four. Diag is its features apart. Tied K = 1 is full."""
    found = {}
    for kind in COVARIANCE_TYPES:
        prior, q, statistics = posterior_of(kind, n_components=1, n_features=n_features)
        if n_features == 1 or kind in ("full", "tied"):
            found[kind] = q.kl(prior), q.energy(statistics), *(e.ravel() for e in q.mean_interval())
    first = found["full"]
    for values in found.values():
        for ours, theirs in zip(values, first, strict=True):
            np.testing.assert_allclose(ours, theirs, rtol=1e-10)
    prior, q, _ = posterior_of("diag", n_components=1, n_features=n_features)
    apart = 0.0
    for d in range(n_features):
        pair = [
            NormalWishart.of("full", p.mean_precisions, p.means[:, [d]], p.dofs, p.scales[:, [[d]]])
            for p in (q, prior)
        ]
        apart += pair[0].kl(pair[1])
    np.testing.assert_allclose(q.kl(prior), apart, rtol=1e-11)


# Units and limits ---------------------------------------------------------------------------------


@given(covariance_types, seeds, st.floats(-6.0, 6.0), st.booleans())
def test_units_change_the_bound_by_their_logarithm(kind, seed, power, mixed):
    """Powers of ten per feature; spherical knows one unit only."""
    rng = np.random.default_rng(seed)
    unit = np.full(D, 10.0**power)
    if mixed and kind != "spherical":
        unit = 10.0 ** rng.uniform(-6, 6, size=D)
    prior, q, statistics = posterior_of(kind, seed=seed)
    scale = {"spherical": unit[0] ** 2, "diag": unit**2}.get(kind, np.outer(unit, unit))
    X, resp = rows_and_resp(seed=seed)
    prior_there = NormalWishart.of(
        kind, prior.mean_precisions, prior.means * unit, prior.dofs, prior.scales * scale
    )
    statistics_there = statistics_of(kind, X * unit, resp)
    there = prior_there.posterior(statistics_there)
    np.testing.assert_allclose(there.means, q.means * unit, rtol=1e-9, atol=1e-9 * unit.min())
    np.testing.assert_allclose(there.kl(prior_there), q.kl(prior), rtol=1e-9)
    shift = statistics.counts.sum() * np.log(unit).sum()
    expected = q.energy(statistics) - shift
    np.testing.assert_allclose(there.energy(statistics_there), expected, rtol=1e-9, atol=1e-7)


@every_kind
def test_offsets_of_the_data_cancel_nothing(kind):
    X, resp = rows_and_resp()
    X, offset = np.round(X * 2**20) / 2**20, 2.0**27  # 1.3e8, and exact
    prior, mean = prior_of(kind), np.round(prior_of(kind).means * 2**20) / 2**20
    prior = prior._replace(means=mean)
    there = prior._replace(means=mean + offset)
    centers = np.round(np.repeat(X.mean(axis=0)[None], K, axis=0) * 2**20) / 2**20
    q = prior.posterior(statistics_of(kind, X, resp, centers))
    moved = there.posterior(statistics_of(kind, X + offset, resp, centers + offset))
    np.testing.assert_allclose(moved.scales, q.scales, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(moved.means - offset, q.means, atol=1e-7)
    np.testing.assert_allclose(moved.kl(there), q.kl(prior), rtol=1e-7)


@every_kind
def test_nearly_flat_components_keep_their_divergence(kind):
    """Correlation 1 − 1e-9 in units 1e±6: the KL to itself, doubled, is that of round ones."""
    flat = np.array([[1.0, 1 - 1e-9], [1 - 1e-9, 1.0]]) if kind in ("full", "tied") else np.eye(2)
    unit = np.array([1e-6, 1e6])
    values = []
    for matrix in (np.eye(2), flat * np.outer(unit, unit)):
        prior = NormalWishart.prior(kind, 1, 1.0, np.zeros(2), 3.0, shaped(matrix, kind))
        twice = NormalWishart.of(
            kind, prior.mean_precisions, prior.means, prior.dofs + 5, 2 * prior.scales
        )
        values.append(twice.kl(prior))
    np.testing.assert_allclose(values[1], values[0], rtol=1e-6)


@every_kind
def test_a_vanishing_prior_is_the_maximum_of_the_likelihood(kind):
    X, resp = rows_and_resp(200)
    statistics = statistics_of(kind, X, resp)
    prior_dof = D - 1 if kind in ("full", "tied") else 0
    scale = shaped(1e-12 * np.eye(D), kind)
    tiny = NormalWishart.prior(kind, K, 1e-12, np.zeros(D), prior_dof + 1e-12, scale)
    q = tiny.posterior(statistics)
    means, covariances, _ = statistics.maximize(np.zeros(D), np.zeros(D), (np.nan, np.nan))
    np.testing.assert_allclose(q.means, means, rtol=1e-9)
    rows = statistics.counts.sum() if kind == "tied" else statistics.counts
    seen = D * rows if kind == "spherical" else rows
    ratio = np.asarray(seen / (seen + prior_dof))
    ratio = ratio.reshape(ratio.shape + (1,) * (covariances.ndim - ratio.ndim))
    np.testing.assert_allclose(q.covariances, covariances * ratio, rtol=1e-9, atol=1e-11)


# Draws and intervals ------------------------------------------------------------------------------


@every_kind
def test_draws_have_the_moments_of_the_distribution(kind):
    _, q, _ = posterior_of(kind, n=15)
    n = 40_000
    means, factors = draws_of_components(q, n, np.random.default_rng(2))
    assert means.shape == (n, K, D)
    assert factors.shape == (n, *q.precisions_cholesky.shape)
    precisions = q.structure.precisions(factors)
    error = precisions.std(axis=0) / np.sqrt(n)
    assert (np.abs(precisions.mean(axis=0) - q.precisions) < 5 * error).all()
    if kind in ("full", "tied"):
        W = np.linalg.inv(q.scales).reshape(-1, D, D)
        exact = np.stack([wishart(v, w).var() for v, w in zip(np.ravel(q.dofs), W, strict=True)])
        np.testing.assert_allclose(precisions.var(axis=0).reshape(-1, D, D), exact, rtol=0.06)
    scale = matrices(q.scales, kind, K, D)
    for k in range(K):
        dof = float(np.broadcast_to(q.marginal_dofs, K)[k])
        exact = scale[k] / q.mean_precisions[k] / (dof - 2)
        np.testing.assert_allclose(np.cov(means[:, k].T), exact, rtol=0.1, atol=0.03 * exact.max())
        error = np.sqrt(np.diag(exact) / n)
        assert (np.abs(means[:, k].mean(axis=0) - q.means[k]) < 5 * error).all()


@pytest.mark.parametrize("level", [0.5, 0.95])
@every_kind
def test_intervals_are_scipys_and_hold_their_share_of_draws(kind, level):
    _, q, _ = posterior_of(kind, n=15)
    n = 20_000
    means, factors = draws_of_components(q, n, np.random.default_rng(3))
    variances = q.structure.covariances_of(factors)
    if kind in ("full", "tied"):
        variances = np.diagonal(variances, axis1=-2, axis2=-1)
    scale = np.diagonal(matrices(q.scales, kind, K, D), axis1=-2, axis2=-1)
    dofs = np.broadcast_to(q.marginal_dofs, K)[:, None]
    lower, upper = q.mean_interval(level)
    exact = t(dofs, q.means, np.sqrt(scale / dofs / q.mean_precisions[:, None])).interval(level)
    np.testing.assert_allclose([lower, upper], exact, rtol=1e-8)
    low, high = q.variance_interval(level)
    exact = np.broadcast_arrays(*invgamma(dofs / 2, scale=scale / 2).interval(level))
    pick = {"tied": np.s_[0], "spherical": np.s_[:, 0]}.get(kind, np.s_[:])
    np.testing.assert_allclose([low, high], [end[pick] for end in exact], rtol=1e-8)
    assert low.shape == {"tied": (D,), "spherical": (K,)}.get(kind, (K, D))
    for values, ends in ((means, (lower, upper)), (variances, (low, high))):
        inside = ((values > ends[0]) & (values < ends[1])).mean(axis=0)
        assert (np.abs(inside - level) < 5 * np.sqrt(level * (1 - level) / n)).all()


def test_an_interval_of_almost_no_degrees_of_freedom_is_honest():
    prior = NormalWishart.prior("spherical", 1, 1.0, np.zeros(2), 1e-4, np.asarray(1.0))
    _, upper = prior.variance_interval()
    assert upper == np.inf


@pytest.mark.parametrize("n_features", [3, 64, 65, 150])
@pytest.mark.parametrize("shared", [True, False])
def test_ratios_of_precisions_are_traces(n_features, shared):
    """tr(Λ Σ₀), with one Σ₀ for all components or one for each."""
    rng = np.random.default_rng(n_features)
    structure = STRUCTURES["full"]
    rows = rng.normal(size=(6, 2 * n_features, n_features))
    covariances = rows.swapaxes(1, 2) @ rows
    factors = structure.precisions_cholesky(covariances)
    ours, others = slice(0, 3), slice(3, 4) if shared else slice(3, 6)
    found = PRECISIONS["full"].ratio(factors[ours], factors[others])
    products = np.linalg.solve(covariances[ours], covariances[others])
    np.testing.assert_allclose(found, np.trace(products, axis1=1, axis2=2), rtol=1e-10)
    one = PRECISIONS["tied"].ratio(factors[0], factors[3])
    assert one.shape == ()
    assert abs(one / found[0] - 1) < 1e-13
