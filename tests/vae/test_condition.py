"""Columns that are given: p(x | c) against linear regressions with Gaussian residuals."""

import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.stats import multivariate_normal
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from torch import nn

from skvae import VariationalAutoencoder
from skvae.comparison.checks import warn_of_different_spaces
from skvae.inspection import elbo_decomposition
from skvae.neural.likelihoods.given import Given
from skvae.neural.training import rows_on_disk
from tests.neural.training.training_problems import weights as weights_of
from tests.problems import knock_out
from tests.vae.estimator_problems import autoencoder

# Models of a few epochs have encoders that are far from the posterior.
pytestmark = pytest.mark.filterwarnings("ignore::skvae.vae.EffectiveSizeWarning")

NAMES = ["a", "b", "age", "c", "d", "e", "group"]
GIVEN, MODELLED = [2, 6], [0, 1, 3, 4, 5]


def some_rows(n=400, seed=0):
    """Rows x = A c + b + W z + noise, with the columns of c among those of x."""
    rng = np.random.default_rng(seed)
    c = np.c_[rng.normal(30.0, 12.0, n), rng.integers(0, 2, n)]
    truth = np.random.default_rng(7)
    slopes, loadings = truth.normal(size=(5, 2)) * [0.1, 2.0], truth.normal(size=(5, 2))
    x = c @ slopes.T + rng.normal(size=(n, 2)) @ loadings.T + rng.normal(size=(n, 5)) * 0.7
    X = np.empty((n, 7))
    X[:, GIVEN], X[:, MODELLED] = c, x * np.geomspace(0.01, 100.0, 5) + 5.0
    return X


X = some_rows()


class Regression:
    """Least squares on c, and the normal residuals of a covariance."""

    def __init__(self, X, covariance):
        self.coefficients = np.linalg.lstsq(self.design(X), X[:, MODELLED], rcond=None)[0]
        self.covariance = covariance

    @staticmethod
    def design(X):
        return np.c_[np.ones(len(X)), X[:, GIVEN]]

    def mean(self, X):
        return self.design(X) @ self.coefficients

    def log_density(self, X):
        """Of the observed values of each row."""
        found, residuals = np.zeros(len(X)), X[:, MODELLED] - self.mean(X)
        for i, r in enumerate(residuals):
            seen = np.flatnonzero(~np.isnan(r))
            if len(seen):
                normal = multivariate_normal(cov=self.covariance[np.ix_(seen, seen)])
                found[i] = normal.logpdf(r[seen])
        return found


def linear(scale="feature", rows=X, given=GIVEN, **parameters):
    """A linear model whose first weights remain."""
    parameters = {"likelihood_params": {"scale": scale}, "early_stopping": False, **parameters}
    parameters = {"hidden_layer_sizes": (), "lr": 1e-12, "max_epochs": 1, **parameters}
    return autoencoder(condition=given, **parameters).fit(rows)


def covariance_of(vae):
    """W Wᵀ + Ψ of a linear model, in the units of X."""
    c = vae.sample(1, condition=X[:1, GIVEN])[0][:, GIVEN]
    points = np.vstack([np.zeros(2), np.eye(2)])
    means = vae.inverse_transform(points, condition=c)[:, MODELLED]
    sigma = vae.likelihood_parameters(points[:1], condition=c)["scale"][0, MODELLED]
    loadings = (means[1:] - means[0]).T
    return loadings @ loadings.T + np.diag(sigma**2)


# The closed form ----------------------------------------------------------------------------------


def test_a_linear_model_starts_at_regression_and_factor_analysis():
    """No covariance W Wᵀ + Ψ of residuals, found by EM, has a higher likelihood."""
    vae = linear()
    residuals = X[:, MODELLED] - Regression(X, None).mean(X)
    units = residuals.std(axis=0)
    S = residuals.T @ residuals / len(X) / np.outer(units, units)
    loadings, noise = np.random.default_rng(0).normal(size=(5, 2)), np.ones(5)
    for _ in range(5000):  # EM of Rubin & Thayer (1982)
        beta = loadings.T @ np.linalg.inv(loadings @ loadings.T + np.diag(noise))
        moment = np.eye(2) - beta @ loadings + beta @ S @ beta.T
        loadings = S @ beta.T @ np.linalg.inv(moment)
        noise = np.diag(S - loadings @ beta @ S)
    covariance = (loadings @ loadings.T + np.diag(noise)) * np.outer(units, units)
    reference = Regression(X, covariance)
    assert vae.score(X) == pytest.approx(reference.log_density(X).mean(), abs=1e-6)
    assert_allclose(vae.score_samples(X), reference.log_density(X), atol=2e-3)
    new = some_rows(50, seed=1)
    assert_allclose(vae.score_samples(new), reference.log_density(new), atol=2e-3)


@pytest.mark.parametrize("scale", ["feature", "shared"])
def test_scores_are_those_of_the_conditional_gaussian(scale):
    vae = linear(scale)
    reference = Regression(X, covariance_of(vae))
    holes = knock_out(X[:100], seed=1)
    holes[:, GIVEN] = X[:100, GIVEN]
    holes[3, MODELLED] = np.nan
    assert_allclose(vae.score_samples(holes), reference.log_density(holes), atol=1e-3)
    assert vae.score_samples(holes)[3] == 0.0
    assert_allclose(vae.effective_sample_size(holes), vae.n_score_samples, rtol=1e-12)


def test_the_posterior_and_elbo_are_those_of_residuals():
    vae = linear()
    terms = vae.set_params(n_score_samples=2000).elbo(X[:40])
    assert_allclose(terms.elbo, vae.score_samples(X[:40]), atol=0.2)  # q is exact: noise alone
    assert_allclose(terms.elbo.mean(), vae.score(X[:40]), atol=0.02)
    found = elbo_decomposition(vae, X[:40])
    assert_allclose(found.elbo, found.expected_joint + found.entropy, rtol=1e-10)
    # Rows that differ in c and by A c in x have the same latent vectors.
    shifted, regression = X[:40].copy(), Regression(X, None)
    shifted[:, GIVEN] += [10.0, 1.0]
    shifted[:, MODELLED] += regression.mean(shifted) - regression.mean(X[:40])
    assert_allclose(vae.transform(shifted), vae.transform(X[:40]), atol=1e-4)
    assert_allclose(vae.score_samples(shifted), vae.score_samples(X[:40]), atol=1e-3)


def test_draws_are_those_of_the_conditional_gaussian():
    vae, n = linear(), 40_000
    reference = Regression(X, covariance_of(vae))
    c = X[:1, GIVEN]
    for condition in (c, np.repeat(c, n, axis=0)):
        drawn, Z = vae.sample(n, condition=condition, random_state=0)
        assert (drawn.shape, Z.shape) == ((n, 7), (n, 2))
        assert_array_equal(drawn[:, GIVEN], np.repeat(c, n, axis=0))
        units = np.sqrt(np.diag(reference.covariance))
        errors = (drawn[:, MODELLED].mean(axis=0) - reference.mean(X[:1])[0]) / units
        assert np.abs(errors).max() < 5 / np.sqrt(n)
        found = np.cov(drawn[:, MODELLED].T) / np.outer(units, units)
        assert_allclose(found, reference.covariance / np.outer(units, units), atol=0.05)
    rows, _ = vae.sample(3, condition=X[:3, GIVEN])
    assert_array_equal(rows[:, GIVEN], X[:3, GIVEN])


def test_imputations_are_conditional_means():
    vae = linear(n_score_samples=4000)
    reference, holes = Regression(X, covariance_of(vae)), X[:20].copy()
    holes[:, 1] = np.nan
    rest, mean = [0, 2, 3, 4], reference.mean(holes)
    gain = np.linalg.solve(reference.covariance[np.ix_(rest, rest)], reference.covariance[rest, 1])
    expected = mean[:, 1] + (holes[:, MODELLED] - mean)[:, rest] @ gain
    filled = vae.impute(holes)
    unit = np.sqrt(reference.covariance[1, 1])
    assert_allclose(filled[:, 1] / unit, expected / unit, atol=0.1)
    seen = ~np.isnan(holes)
    assert_array_equal(filled[seen], holes[seen])
    drawn = vae.impute(holes, draw=True, random_state=0)
    assert_array_equal(drawn[seen], holes[seen])
    # A row without any observed value has the regression's mean.
    holes[:, MODELLED] = np.nan
    assert_allclose(vae.impute(holes)[:, 1] / unit, mean[:, 1] / unit, atol=0.15)


def test_collinear_and_constant_columns_can_be_given():
    more = np.c_[X, 1.0 - X[:, 6], np.full(len(X), 3.0)]
    vae = linear(rows=more, given=[2, 6, 7, 8])
    assert_allclose(vae.score_samples(more), linear().score_samples(X), atol=1e-3)


def test_weights_are_repeated_rows():
    counts = np.arange(len(X)) % 4
    weighted = linear(rows=np.repeat(X, counts, axis=0))
    shares = autoencoder(condition=GIVEN, hidden_layer_sizes=(), lr=1e-12, max_epochs=1)
    shares = shares.set_params(early_stopping=False, likelihood_params={"scale": "feature"})
    shares.fit(X, sample_weight=0.7 * counts)
    assert_allclose(shares.score_samples(X), weighted.score_samples(X), atol=1e-4)


# Networks -----------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_curve_is_learned_from_its_condition():
    """x = sin(3 c) + noise: no latent vector is needed, and a linear model cannot have it."""
    rng = np.random.default_rng(0)
    c = rng.uniform(-1.0, 1.0, 1500)
    rows = np.c_[np.sin(3.0 * c) + 0.1 * rng.normal(size=1500), c]
    vae = VariationalAutoencoder(1, condition=[1], random_state=0, max_epochs=150).fit(rows[:1000])
    truth = -0.5 * np.log(2 * np.pi * 0.01) - 0.5
    assert vae.score(rows[1000:]) > truth - 0.15
    start = VariationalAutoencoder(1, condition=[1], hidden_layer_sizes=(), random_state=0)
    assert start.fit(rows[:1000]).score(rows[1000:]) < truth - 0.5


@pytest.mark.parametrize("prior", ["normal", "mixture", "vamp"])
@pytest.mark.parametrize(
    ("likelihood", "params"),
    [
        ("gaussian", {"scale": "decoder"}),
        ("student_t", None),
        ([("gaussian", ["a", "b"]), ("student_t", [3, 4, 5], {"dof": 4.0})], None),
    ],
)
def test_every_method_takes_whole_rows(likelihood, params, prior, tmp_path):
    frame = pd.DataFrame(X[:60], columns=NAMES)
    vae = autoencoder(
        condition=["group", "age"],
        likelihood=likelihood,
        likelihood_params=params,
        prior=prior,
        n_prior_components=2,
        n_score_samples=20,
    ).fit(frame)
    assert vae.n_features_in_ == 7
    assert vae.transform(frame).shape == (60, 2)
    assert [*vae.get_feature_names_out()] == [
        "variationalautoencoder0",
        "variationalautoencoder1",
    ]
    for values in (vae.score_samples(frame), *vae.elbo(frame), vae.effective_sample_size(frame)):
        assert values.shape == (60,)
        assert np.isfinite(values).all()
    rebuilt = np.asarray(vae.reconstruct(frame))
    assert_array_equal(rebuilt[:, GIVEN], X[:60, GIVEN])
    given = frame[["age", "group"]]  # by name, in any order
    again = vae.inverse_transform(vae.transform(frame), condition=given)
    assert_allclose(np.asarray(again), rebuilt, rtol=1e-10)
    by_place = vae.inverse_transform(vae.transform(frame), condition=X[:60, [6, 2]])
    assert_array_equal(by_place, again)
    drawn = np.asarray(vae.sample(60, condition=given)[0])
    assert_array_equal(drawn[:, GIVEN], X[:60, GIVEN])
    scores = np.asarray(vae.feature_scores(frame))
    assert_array_equal(np.isnan(scores).all(axis=0), [name in ("age", "group") for name in NAMES])
    vae.save(tmp_path / "model.st")
    others = (
        VariationalAutoencoder.load(tmp_path / "model.st"),
        pickle.loads(pickle.dumps(vae)),
        copy.deepcopy(vae),
    )
    for other in others:
        assert_array_equal(other.score_samples(frame), vae.score_samples(frame))
    more = copy.deepcopy(vae).partial_fit(frame)
    assert not np.array_equal(weights_of(more.net_), weights_of(vae.net_))
    with pytest.raises(ValueError, match="warm_start=True continues a model that was fitted with"):
        vae.set_params(warm_start=True, condition=["age"]).fit(frame)


def test_columns_are_named_in_every_way():
    frame = pd.DataFrame(X[:60], columns=NAMES)
    mask = [name in ("age", "group") for name in NAMES]
    expected = weights_of(autoencoder(condition=GIVEN).fit(X[:60]).net_)
    for data, condition in ((frame, ["age", "group"]), (frame, mask), (X[:60], [2, -1])):
        found = autoencoder(condition=condition).fit(data)
        assert_array_equal(weights_of(found.net_), expected)
    one = autoencoder(condition="age").fit(frame)
    assert isinstance(one.net_.module_.model.likelihood.parts[-1], Given)
    assert one.sample(2, condition=[[20.0]])[0].shape == (2, 7)
    assert clone(one).condition == "age"


class Reader(nn.Module):
    """A decoder of its own: it notes the numbers that it reads."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 5)

    def forward(self, inputs):
        assert inputs.shape[1] == 4
        return self.layer(inputs)


def test_modules_of_the_user_read_the_condition():
    parameters = {"condition": GIVEN, "likelihood_params": {"scale": "feature"}}
    vae = autoencoder(decoder=Reader, encoder=nn.Linear(7, 4), **parameters).fit(X[:60])
    assert np.isfinite(vae.score(X[:60]))
    match = "decoder cannot read rows of n_components=2 numbers and 2 of condition"
    with pytest.raises(ValueError, match=match):
        autoencoder(decoder=nn.Linear(2, 5), **parameters).fit(X[:60])


@pytest.mark.parametrize("kind", ["file", "dask"])
def test_streamed_rows(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(rows_on_disk, "BUFFER", 700)
    monkeypatch.setattr(rows_on_disk, "_BLOCK", 350)
    if kind == "dask":
        da = pytest.importorskip("dask.array")
        given = da.from_array(X, chunks=(90, 7))
    else:
        np.save(tmp_path / "X.npy", X)
        given = np.load(tmp_path / "X.npy", mmap_mode="r")
    vae = linear(rows=given)
    assert_allclose(vae.score_samples(X), linear().score_samples(X), atol=1e-4)
    assert_allclose(np.asarray(vae.score_samples(given)), vae.score_samples(X), rtol=1e-12)


# Errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        ([9], r"condition=\[9\]: must be between 0 and 6, as X has 7 columns"),
        ("age", "condition='age': must be indices, as X has no column names"),
        ([2, 2], r"condition=\[2, 2\]: must be columns of X, each once"),
        (slice(None), "must be some of the columns, not all"),
        ([], r"condition=\[\]: must be at least one column"),
        (1.5, "condition=1.5: must be an index, a slice, a name, or a list of these"),
    ],
)
def test_columns_that_cannot_be_given(condition, match):
    with pytest.raises(ValueError, match=match):
        autoencoder(condition=condition).fit(X)


@pytest.mark.parametrize("dtype", [object, "string", "category"])
@pytest.mark.parametrize("likelihood", ["gaussian", [("categorical", "b"), ("gaussian", "a")]])
def test_given_columns_hold_no_names(dtype, likelihood):
    frame = pd.DataFrame({"b": X[:60, 6], "a": X[:60, 0], "age": np.where(X[:60, 6], "x", "1")})
    estimator = autoencoder(condition="age", likelihood=likelihood)
    match = (
        r"^X\['age'\] holds 'x': columns of condition must be numbers; put a column of 0 and 1 for "
        "each category in its place"
    )
    with pytest.raises(ValueError, match=match):
        estimator.fit(frame.astype({"age": dtype}))
    with pytest.raises(ValueError, match=r"^X\[:, 2\] holds 'x': columns of condition"):
        autoencoder(condition=2).fit(frame.to_numpy(dtype=object))
    numbers = frame.assign(age=frame["age"].map({"x": "2.5", "1": "1"})).astype({"age": dtype})
    expected = estimator.fit(frame.assign(age=np.where(X[:60, 6], 2.5, 1.0)))
    rows = frame.assign(age=np.where(X[:60, 6], 2.5, 1.0))
    assert_array_equal(
        expected.score_samples(rows), clone(estimator).fit(numbers).score_samples(rows)
    )


def test_a_given_column_has_no_likelihood():
    match = r"X\[:, 2\] belongs to the parts \['gaussian', 'condition'\]"
    with pytest.raises(ValueError, match=match):
        autoencoder(condition=[2], likelihood=[("gaussian", slice(None))]).fit(X)


def test_categories_beside_given_columns():
    frame = pd.DataFrame({"age": X[:60, 2], "x": X[:60, 0], "size": X[:60, 6]})
    frame["size"] = frame["size"].map({0.0: "small", 1.0: "large"})
    parts = [("gaussian", "x"), ("categorical", "size")]
    vae = autoencoder(condition="age", likelihood=parts, n_score_samples=10).fit(frame)
    assert vae.categories_ == [None, None, ["large", "small"]]
    drawn, _ = vae.sample(4, condition=frame[["age"]][:4])
    assert {*drawn[:, 2]} <= {"large", "small"}
    assert_array_equal(drawn[:, 0], frame["age"][:4])
    alone = autoencoder(condition="age", likelihood="categorical", n_score_samples=10)
    assert alone.fit(frame[["age", "size"]]).categories_ == [None, ["large", "small"]]
    with pytest.raises(ValueError, match="must be one of"):
        autoencoder(likelihood=[("gaussian", [0, 1]), ("given", [2])]).fit(X[:, :3])


def test_given_values_must_be_observed():
    holes, vae = X[:60].copy(), autoencoder(condition=GIVEN).fit(X[:60])
    holes[5, 6] = np.nan
    match = r"X\[:, 6\] has a missing value: columns of condition must be observed in every row"
    calls = [autoencoder(condition=GIVEN).fit, *(getattr(copy.deepcopy(vae), name) for name in (
        "score_samples", "score", "transform", "impute", "reconstruct", "elbo", "partial_fit",
        "effective_sample_size", "active_units", "feature_scores", "posterior",
    ))]  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=match):
            call(holes)


@pytest.mark.parametrize(
    ("condition", "match"),
    [
        (None, r"condition=None: must have the values of the columns \[2, 6\]"),
        (X[:2, GIVEN], r"condition has shape \(2, 2\): must have shape \(3, 2\)"),
        (X[:3], r"condition has shape \(3, 7\): must have shape \(3, 2\)"),
        (X[0, GIVEN], r"condition has shape \(2,\): must have shape \(3, 2\)"),
        ([[np.nan, 1.0]], "condition contains NaN"),
        ([["a", 1.0]], "condition"),
    ],
)
def test_wrong_values_of_a_condition(condition, match):
    vae = autoencoder(condition=GIVEN).fit(X[:60])
    Z = np.zeros((3, 2))
    for call in (
        lambda: vae.sample(3, condition=condition),
        lambda: vae.inverse_transform(Z, condition=condition),
        lambda: vae.likelihood_parameters(Z, condition=condition),
    ):
        with pytest.raises(ValueError, match=match):
            call()


def test_a_model_of_all_columns_takes_no_condition():
    vae = autoencoder().fit(X[:60])
    with pytest.raises(ValueError, match="must be None, as the model was fitted with"):
        vae.sample(2, condition=X[:2, GIVEN])
    frame = pd.DataFrame(X[:60], columns=NAMES)
    named = autoencoder(condition=["age", "group"]).fit(frame)
    with pytest.raises(ValueError, match=r"condition has the columns \['age', 'sex'\]"):
        named.sample(60, condition=frame[["age", "group"]].set_axis(["age", "sex"], axis=1))


def test_densities_of_other_columns_are_not_compared():
    both = {"a": autoencoder(condition=[2]), "b": autoencoder()}
    with pytest.warns(UserWarning, match="different spaces.* 'a' after condition=.2.; 'b' on X"):
        warn_of_different_spaces(both)
    search = GridSearchCV(autoencoder(), {"condition": [[1], [2]]})
    with pytest.warns(UserWarning, match=r"searches over its transformers \(condition\)"):
        warn_of_different_spaces({"a": search})
    warn_of_different_spaces({"a": autoencoder(condition=[2]), "b": autoencoder(3, condition=[2])})
