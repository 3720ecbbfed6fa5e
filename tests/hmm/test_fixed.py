"""Parameters of a chain that keep their initial values: constrained maxima, counts and errors."""

import inspect
import pickle
import warnings

import numpy as np
import pytest
import skops.io
from numpy.testing import assert_allclose, assert_array_equal
from scipy import stats
from scipy.optimize import minimize_scalar
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV

from skvae import EMGaussianMixture, EMHiddenMarkov
from skvae.emissions import Emission
from skvae.emissions.zero_inflated_poisson import rates_of_zeros
from skvae.hmm import (
    BernoulliEmission,
    CategoricalEmission,
    ColumnEmission,
    GammaEmission,
    GaussianEmission,
    GaussianMixtureEmission,
    NegativeBinomialEmission,
    PoissonEmission,
    StudentTEmission,
    VonMisesEmission,
    ZeroInflatedPoissonEmission,
)
from tests.combinations import slow
from tests.hmm.problems import groups_of, holes, known_emission, known_model, random_chain, rows_of

CLASSES = {
    "gaussian_mixture": GaussianMixtureEmission,
    "student_t": StudentTEmission,
    "categorical": CategoricalEmission,
    "poisson": PoissonEmission,
    "bernoulli": BernoulliEmission,
}
LENGTHS = (120, 1, 80)
GROUPS = groups_of(LENGTHS)


def first_emission(family, seed=2):
    """An emission whose first values are known ones."""
    known = known_emission(family, seed=seed)
    if family == "column":
        parts = [(n, first_of(type(e), e), list(columns)) for n, e, columns in known.emissions_]
        return ColumnEmission(parts)
    return first_of(CLASSES.get(family, GaussianEmission), known)


def first_of(cls, known):
    taken = cls().get_params()
    given = {n: getattr(known, f"{n[:-5]}_") for n in taken if n.endswith("_init")}
    given |= {n: getattr(known, n) for n in ("covariance_type", "n_mix") if n in taken}
    return cls(**given)


def learner(family, fixed, **settings):
    startprob, transmat = random_chain(3, 7, sticky=1.0)
    settings = {
        "emission": first_emission(family),
        "startprob_init": startprob,
        "transmat_init": transmat,
        "tol": 1e-11,
        "max_iter": 3000,
    } | settings
    return EMHiddenMarkov(3, fixed=fixed, **settings)


def rows(family, missing=False):
    X = rows_of(known_model(family, seed=2), LENGTHS)
    return holes(X, 0.15) if missing else X


def quiet(model, X, **given):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return model.fit(X, **({"groups": GROUPS} | given))


def arrays_of(emission):
    """The fitted arrays by name, those of parts with their prefix."""
    if isinstance(emission, ColumnEmission):
        return {
            f"{name}__{key}": array
            for name, part, _ in emission.emissions_
            for key, array in arrays_of(part).items()
        }
    names = "weights", "means", "covariances", "dofs", "rates", "probabilities"
    return {n: getattr(emission, f"{n}_") for n in names if hasattr(emission, f"{n}_")}


def with_arrays(emission, arrays):
    if isinstance(emission, ColumnEmission):
        parts = [
            (name, with_arrays(part, {k[len(name) + 2 :]: v for k, v in arrays.items()
                                      if k.startswith(f"{name}__")}), list(columns))
            for name, part, columns in emission.emissions_
        ]  # fmt: skip
        return ColumnEmission.from_parameters(parts)
    if isinstance(emission, CategoricalEmission | PoissonEmission | BernoulliEmission):
        return type(emission).from_parameters(**arrays)
    return type(emission).from_parameters(**arrays, covariance_type=emission.covariance_type)


def directions(name, array, mask, tied=False):
    """Changes of the free entries that keep distributions normalised and matrices symmetric."""
    base = name.rpartition("__")[2]
    states = [0] if tied and base == "covariances" else np.flatnonzero(~mask)
    if tied and base == "covariances" and mask.all():
        return
    for k in states:
        part = array if tied and base == "covariances" else array[k]
        for index in np.ndindex(part.shape):
            change = np.zeros_like(array)
            mine = change if tied and base == "covariances" else change[k : k + 1]
            at = index if tied and base == "covariances" else (0, *index)
            if base in ("transmat", "weights") or (base == "probabilities" and array.ndim == 3):
                if index[-1] == 0:
                    continue
                mine[at] += 1.0
                mine[(*at[:-1], 0)] -= 1.0
            elif base == "covariances" and part.ndim >= 2 and index[-1] != index[-2]:
                mine[at] += 1.0
                mine[(*at[:-2], at[-1], at[-2])] += 1.0
            else:
                mine[at] += 1.0
            yield change


def start_directions(mask):
    free = np.flatnonzero(~mask)
    for k in free[1:]:
        change = np.zeros(len(mask))
        change[[k, free[0]]] = 1.0, -1.0
        yield change


def assert_maximum(model, X, fixed, step=1e-5):
    """No small change of a free parameter raises the log-likelihood at first order."""
    none, every = np.zeros(3, dtype=bool), np.ones(3, dtype=bool)
    masks = dict.fromkeys(fixed, every) if isinstance(fixed, tuple) else {
        name: np.isin(np.arange(3), states) for name, states in fixed.items()
    }  # fmt: skip
    arrays = {"startprob": model.startprob_, "transmat": model.transmat_}
    arrays |= arrays_of(model.emission_)
    tied = getattr(model.emission_, "covariance_type", "") == "tied"

    def score(name, change):
        changed = {**arrays, name: arrays[name] + change}
        start, transmat = changed.pop("startprob"), changed.pop("transmat")
        emission = with_arrays(model.emission_, changed)
        return EMHiddenMarkov.from_parameters(start, transmat, emission).score(X, groups=GROUPS)

    best, n_free = model.score(X, groups=GROUPS), 0
    for name, array in arrays.items():
        mask = masks.get(name, none)
        moves = (
            start_directions(mask) if name == "startprob" else directions(name, array, mask, tied)
        )
        for change in moves:
            inside = array + 2 * step * np.minimum(change, 0)
            if name.rpartition("__")[2] not in ("means",) and change.min() < 0 and inside.min() < 0:
                continue  # at its limit
            if array[change > 0].min() < 10 * step and name != "means":
                continue
            slope = (score(name, step * change) - best) / step
            back = (score(name, -step * change) - best) / step
            assert abs(slope - back) < 2e-3 * max(1.0, abs(slope + back)), (name, slope, back)
            n_free += 1
    assert n_free > 0


CASES = [
    ("full", ("transmat",)),
    ("full", ("means",)),
    ("full", ("startprob", "covariances")),
    ("full", {"means": [0, 2], "startprob": [1], "transmat": [0]}),
    ("tied", ("means",)),
    ("tied", ("covariances",)),
    ("diag", {"means": [1], "covariances": [0]}),
    ("spherical", {"means": [1, 2]}),
    ("poisson", {"rates": [0, 2]}),
    ("categorical", {"probabilities": [1], "transmat": [1, 2]}),
    ("bernoulli", {"probabilities": [1]}),
    ("gaussian_mixture", ("means",)),
    ("gaussian_mixture", {"weights": [0], "covariances": [1]}),
    ("student_t", ("dofs",)),
    ("student_t", {"means": [0], "covariances": [2]}),
    ("column", ("level__means", "kind__probabilities")),
    ("column", {"level__covariances": [0], "kind__probabilities": [1]}),
]
EVERY = [*CASES[:4], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[4:])]


@pytest.mark.parametrize(("family", "fixed"), EVERY, ids=str)
@pytest.mark.parametrize("missing", [False, *slow(True)])
def test_the_maximum_is_that_of_the_free_parameters(family, fixed, missing):
    X, first = rows(family, missing), learner(family, fixed)
    model = quiet(first, X)
    assert np.diff(model.lower_bounds_).min() > -1e-10
    started = {"startprob": first.startprob_init, "transmat": first.transmat_init}
    started |= {n[:-6] if n.endswith("__init") else n[:-5]: v
                for n, v in first.emission.get_params().items() if n.endswith("_init")}  # fmt: skip
    found = {"startprob": model.startprob_, "transmat": model.transmat_}
    found |= arrays_of(model.emission_)
    tied = family == "tied"
    for name in fixed:
        states = slice(None) if isinstance(fixed, tuple) or tied else fixed[name]
        assert_allclose(found[name][states], started[name][states], rtol=1e-12, err_msg=name)
    assert_allclose(model.startprob_.sum(), 1.0)
    assert_maximum(model, X, fixed)


@pytest.mark.parametrize(("family", "fixed"), CASES[::3], ids=str)
def test_acceleration_leaves_them(family, fixed):
    X = rows(family)
    plain = quiet(learner(family, fixed), X)
    fast = quiet(learner(family, fixed, acceleration="anderson"), X)
    assert np.diff(fast.lower_bounds_).min() > -1e-10
    if family not in ("gaussian_mixture", "column"):  # they have several maxima
        assert_allclose(fast.lower_bound_, plain.lower_bound_, rtol=1e-5)
    found, expected = arrays_of(fast.emission_), arrays_of(plain.emission_)
    for name in fixed:
        states = slice(None) if isinstance(fixed, tuple) else fixed[name]
        if name in found:
            assert_array_equal(found[name][states], expected[name][states])
        else:
            assert_array_equal(
                getattr(fast, f"{name}_")[states], getattr(plain, f"{name}_")[states]
            )


def test_priors_share_the_rest():
    """Start probabilities of MAP: (counts + prior) of the free ones in what is left."""
    X = rows("full")
    states = np.arange(len(X)) % 3
    prior = np.array([2.0, 3.0, 1.5])
    model = learner("full", {"startprob": [0]}, startprob_prior=prior)
    quiet(model, X, states=states)
    counts = np.bincount(states[np.flatnonzero(np.diff(GROUPS, prepend=-1))], minlength=3)
    free = (counts + prior - 1)[1:]
    first = model.startprob_init[0]
    assert_allclose(model.startprob_, [first, *((1 - first) * free / free.sum())])


def test_starts_of_the_other_parameters():
    """Only the fixed parameters need initial values; the starts of the others use the data."""
    rng = np.random.default_rng(0)
    states = np.repeat(rng.integers(3, size=60), 10)
    X = 6.0 * states[:, None] + rng.normal(size=(600, 1))
    means = np.array([[6.0], [12.0], [0.0]])
    model = EMHiddenMarkov(3, means_init=means, fixed="means", random_state=0).fit(X)
    assert_array_equal(model.means_, means)
    assert_allclose(model.covariances_.ravel(), 1.0, atol=0.3)


def test_criteria():
    X = rows("full")
    n_all = 2 + 6 + 6 + 9
    for fixed, n_fixed in (
        (("transmat",), 6),
        (("startprob",), 2),
        ({"startprob": [0]}, 1),
        ({"transmat": [0, 1]}, 4),
        (("means", "covariances"), 15),
        ({"means": [0], "covariances": [1]}, 5),
    ):
        model = quiet(learner("full", fixed, max_iter=20), X)
        total = model.score(X, groups=GROUPS) * len(X)
        assert_allclose(model.aic(X, groups=GROUPS), -2 * total + 2 * (n_all - n_fixed))
        again = pickle.loads(pickle.dumps(model))
        assert again.bic(X, groups=GROUPS) == model.bic(X, groups=GROUPS)
    transmat = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.0, 0.0, 1.0]])
    zeros = quiet(learner("full", {"transmat": [0]}, transmat_init=transmat, max_iter=5), X)
    total = zeros.score(X, groups=GROUPS) * len(X)
    assert_allclose(zeros.aic(X, groups=GROUPS), -2 * total + 2 * (2 + 1 + 15))


@pytest.mark.parametrize(
    ("family", "fixed", "n_fixed"),
    [
        ("categorical", {"probabilities": [0]}, 6),
        ("poisson", ("rates",), 6),
        ("gaussian_mixture", {"weights": [0], "means": [1]}, 1 + 4),
        ("student_t", {"dofs": [0, 1]}, 2),
        ("tied", ("covariances",), 3),
        ("column", {"level__means": [0], "kind__probabilities": [1]}, 1 + 3),
    ],
)
def test_criteria_of_families(family, fixed, n_fixed):
    X = rows(family)
    model = quiet(learner(family, fixed, max_iter=3), X)
    free = quiet(learner(family, (), max_iter=3), X)
    assert free._n_parameters() - model._n_parameters() == n_fixed


def test_fits_and_batches_that_continue():
    X = rows("full")
    model = quiet(EMHiddenMarkov(3, random_state=0, max_iter=30), X)
    transmat = model.transmat_.copy()
    model.set_params(fixed=("transmat",), warm_start=True)
    quiet(model, X + 0.5)
    assert_array_equal(model.transmat_, transmat)
    means = model.means_.copy()
    model.set_params(fixed={"means": [1]})
    model.partial_fit(X, groups=GROUPS)
    assert_array_equal(model.means_[1], means[1])
    assert not np.allclose(model.means_[0], means[0])
    first = learner("full", ("means",))
    first.partial_fit(X, groups=GROUPS)
    assert_array_equal(first.means_, first.emission.means_init)


def test_a_known_emission_and_known_transitions():
    """All fixed but the starts: one step gives their posterior frequencies."""
    X, fixed = rows("poisson"), ("rates", "transmat")
    model = quiet(learner("poisson", fixed), X)
    assert_maximum(model, X, fixed)


def test_searches_and_clones():
    X = rows("poisson")
    grid = {"fixed": [(), ("rates",), {"rates": [0]}]}
    search = GridSearchCV(learner("poisson", (), max_iter=10, tol=1.0), grid, cv=2)
    search.fit(X)
    assert clone(search.best_estimator_).get_params()["fixed"] in grid["fixed"]
    one, other = (quiet(learner("poisson", f, max_iter=5), X) for f in ((), []))
    assert one.lower_bounds_ == other.lower_bounds_


def test_relabelled():
    X = rows("full")
    model = quiet(learner("full", {"means": [0, 2]}, max_iter=10), X)
    order = [2, 0, 1]
    other = model.relabel(order)
    assert other.fixed == {"means": [0, 1]}
    assert_allclose(other.bic(X, groups=GROUPS), model.bic(X, groups=GROUPS))
    other.set_params(warm_start=True)
    means = other.means_.copy()
    quiet(other, X)
    assert_array_equal(other.means_[[0, 1]], means[[0, 1]])


@pytest.mark.parametrize(
    ("family", "settings", "text"),
    [
        ("full", {"fixed": ("rates",)}, "fixed has 'rates': must be names among 'startprob', 'tra"),
        (
            "full",
            {"fixed": ("transmat",), "transmat_init": None},
            "give transmat_init, or continue",
        ),
        ("full", {"fixed": {"means": [3]}}, r"fixed\['means'\]=\[3\]: must be a list of integers"),
        ("tied", {"fixed": {"covariances": [1]}}, "all share the covariances"),
        ("poisson", {"fixed": ("rates",), "emission": "poisson"}, "give rates_init"),
        ("column", {"fixed": ("means",)}, "must be names among .*'level__means'"),
        ("full", {"fixed": 1.5}, "fixed=1.5: must be names among"),
        ("full", {"fixed": np.array("means")}, r"fixed=array\('means'.*\): must be names among"),
        ("full", {"fixed": [np.zeros(2)]}, r"fixed has array\(\[0., 0.\]\): must be names among"),
    ],
)
def test_errors(family, settings, text):
    X = rows(family)
    fixed = settings.pop("fixed")
    with pytest.raises(ValueError, match=text):
        learner(family, fixed, **settings).fit(X, groups=GROUPS)
    with pytest.raises(ValueError, match=text):
        learner(family, fixed, **settings).partial_fit(X, groups=GROUPS)
    assert isinstance(first_emission(family), Emission)


# Families with several parameters of each state -----------------------------------------------


@pytest.mark.parametrize("states", [[0], [0, 1, 2]])
def test_families_fix_all_parameters_of_a_state(states):
    rng = np.random.default_rng(0)
    shapes, scales = np.array([[2.0], [9.0], [30.0]]), np.array([[1.0], [0.5], [1.0]])
    labels = np.repeat(rng.integers(3, size=40), 10)
    X = rng.gamma(shapes[labels], scales[labels])
    emission = GammaEmission(shapes_init=shapes, scales_init=scales)
    fixed = {"shapes": states, "scales": states}
    model = EMHiddenMarkov(3, emission=emission, fixed=fixed, tol=1e-10, max_iter=500).fit(X)
    assert_array_equal(model.emission_.shapes_[states], shapes[states])
    assert_array_equal(model.emission_.scales_[states], scales[states])
    assert np.diff(model.lower_bounds_).min() > -1e-10
    free = EMHiddenMarkov(3, emission=emission, tol=1e-10, max_iter=500).fit(X)
    assert free.lower_bound_ > model.lower_bound_
    assert free._n_parameters() - model._n_parameters() == 2 * len(states)
    for k in np.setdiff1d(range(3), states):
        assert not np.allclose(model.emission_.shapes_[k], shapes[k], rtol=1e-3)


def gamma_density(x, shape, scale):
    return stats.gamma.logpdf(x, shape, scale=scale)


def negative_binomial_density(x, rate, dispersion):
    return stats.nbinom.logpmf(x, 1 / dispersion, 1 / (1 + dispersion * rate))


def inflated_density(x, rate, zeros):
    return np.log((1 - zeros) * stats.poisson.pmf(x, rate) + zeros * (x == 0))


SINGLE = {
    "gamma": (
        GammaEmission,
        gamma_density,
        [[3.0, 1.0], [20.0, 0.2], [9.0, 2.0]],
        [(1e-3, 1e3)] * 2,
    ),
    "von_mises": (
        VonMisesEmission,
        lambda x, mean, kappa: stats.vonmises.logpdf(x, kappa, loc=mean),
        [[0.5, 3.0], [-2.0, 9.0], [2.9, 0.8]],
        [(-3.0, 3.0), (1e-9, 60.0)],
    ),
    "zero_inflated_poisson": (
        ZeroInflatedPoissonEmission,
        inflated_density,
        [[2.0, 0.5], [9.0, 0.1], [0.7, 0.3]],
        [(1e-9, 60.0), (1e-9, 1.0 - 1e-9)],
    ),
    "negative_binomial": (
        NegativeBinomialEmission,
        negative_binomial_density,
        [[2.0, 0.5], [9.0, 0.1], [30.0, 0.3]],
        [(1e-9, 100.0)] * 2,
    ),
}


def names_of(cls):
    return [name[:-5] for name in inspect.signature(cls).parameters if name.endswith("_init")]


def single_problem(family, seed):
    """Rows of known states, and first parameters that differ from the true ones."""
    cls, density, true, limits = SINGLE[family]
    first, second = np.array(true).T[:, :, None]
    labels = np.repeat([0, 1, 2, 0, 1, 2], [60, 80, 50, 70, 30, 90])
    drawn = cls.from_parameters(first, second).parameters()
    X = drawn.sample(labels, np.random.RandomState(seed))
    given = dict(zip(names_of(cls), (first * 1.3, np.minimum(second * 0.8, 30.0)), strict=True))
    return cls, density, X, labels, given, limits


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("family", SINGLE)
def test_the_maximum_about_one_fixed_parameter_is_that_of_scipy(family, seed):
    cls, density, X, labels, given, limits = single_problem(family, seed)
    first, second = given
    fixed = {second: [0]} if family == "negative_binomial" else {first: [1], second: [0]}
    emission = cls(**{f"{name}_init": value for name, value in given.items()})
    model = quiet(
        EMHiddenMarkov(3, emission=emission, fixed=fixed, tol=1e-12), X, states=labels, groups=None
    )
    found = [getattr(model.emission_, f"{name}_").ravel() for name in given]
    for place, name in enumerate(given):
        for k in fixed.get(name, ()):
            x, kept = X[labels == k, 0], given[name].ravel()[k]
            assert found[place][k] == kept

            def loss(value, place=place, x=x, kept=kept):
                values = (kept, value) if place == 0 else (value, kept)
                return -density(x, *values).sum()

            best = minimize_scalar(
                loss, bounds=limits[1 - place], method="bounded", options={"xatol": 1e-9}
            )
            assert_allclose(found[1 - place][k], best.x, rtol=1e-5, atol=1e-6)
            assert loss(found[1 - place][k]) <= best.fun + 1e-9
    free = quiet(EMHiddenMarkov(3, emission=emission, tol=1e-12), X, states=labels, groups=None)
    assert_allclose(
        [array[2] for array in found],
        [getattr(free.emission_, f"{name}_")[2, 0] for name in given],
        rtol=1e-9,
    )
    assert free._n_parameters() - model._n_parameters() == sum(map(len, fixed.values()))


@pytest.mark.parametrize("acceleration", [None, "anderson"])
@pytest.mark.parametrize("family", SINGLE)
def test_the_bound_never_falls_with_one_parameter_fixed(family, acceleration):
    cls, _, X, _, given, _ = single_problem(family, 3)
    X[::7] = np.nan
    first, second = given
    emission = cls(**{f"{name}_init": value for name, value in given.items()})
    for fixed in ({second: [0, 1, 2]}, {second: [0], first: [0]}):
        model = EMHiddenMarkov(
            3, emission=emission, fixed=fixed, tol=0, max_iter=30, acceleration=acceleration
        )
        assert np.diff(quiet(model, X, groups=None).lower_bounds_).min() > -1e-10
        assert_array_equal(getattr(model.emission_, f"{second}_")[0], given[second][0])


def test_a_part_of_the_columns_has_one_fixed_parameter():
    """With known states the parts do not depend on each other; batches keep the values too."""
    cls, _, X, labels, given, _ = single_problem("gamma", 0)
    gamma = cls(**{f"{name}_init": value for name, value in given.items()})
    both = np.hstack([np.random.RandomState(1).poisson(1.0 + labels)[:, None], X])
    parts = ColumnEmission([("count", PoissonEmission(), 0), ("wait", gamma, 1)])
    fixed = {"scales": [0, 2]}
    alone = EMHiddenMarkov(3, emission=gamma, fixed=fixed, tol=1e-12)
    alone = quiet(alone, X, states=labels, groups=None).emission_
    model = EMHiddenMarkov(3, emission=parts, fixed={"wait__scales": [0, 2]}, tol=1e-12)
    found = quiet(model, both, states=labels, groups=None).emission_.named_emissions_.wait
    assert_allclose(found.shapes_, alone.shapes_, rtol=1e-10)
    assert_array_equal(found.scales_[[0, 2]], given["scales"][[0, 2]])
    batches = clone(model).partial_fit(both[:200]).partial_fit(both[200:])
    wait = batches.emission_.named_emissions_.wait
    assert_array_equal(wait.scales_[[0, 2]], given["scales"][[0, 2]])
    assert (wait.shapes_ != given["shapes"]).all()


def test_a_known_share_of_zeros_may_leave_two_maxima():
    """The M step has the higher one, and its ends: all zeros, none, and a share of zero."""
    rng = np.random.default_rng(0)
    theta, zeros = rng.uniform(0.02, 1.0, 300), 10.0 ** -rng.uniform(0.1, 6.0, 300)
    x = theta * (1.0 + rng.gamma(0.5, 10.0, 300))
    found = rates_of_zeros(theta, x, zeros)

    def likelihood(rates):
        empty = np.log(zeros + (1.0 - zeros) * np.exp(-rates))
        return x * np.log(rates) - theta * rates + (1.0 - theta) * empty

    grid = np.exp(np.linspace(np.log(x) - 0.1, np.log(x / theta) + 0.1, 2000))
    values = likelihood(grid)
    maxima = (np.diff(np.sign(np.diff(values, axis=0)), axis=0) < 0).sum(axis=0)
    assert (maxima > 1).sum() > 5
    assert (likelihood(found) >= values.max(axis=0) - 1e-12).all()
    ends = rates_of_zeros(np.array([0.0, 1.0, 0.5]), np.array([0.0, 4.0, 2.0]), np.zeros(3))
    assert_allclose(ends, [0.0, 4.0, 2.0])


def test_rates_alone_are_not_fixed_without_their_dispersions():
    cls, _, X, _, given, _ = single_problem("negative_binomial", 0)
    emission = cls(**{f"{name}_init": value for name, value in given.items()})
    text = (
        r"fixed has \['rates'\]: NegativeBinomialEmission fixes all parameters of a state or none, "
        r"\['rates', 'dispersions'\] for the same states, or one of \['dispersions'\] alone"
    )
    for fixed in ("rates", {"rates": [0, 1], "dispersions": [0]}):
        with pytest.raises(ValueError, match=text.replace(r"\['rates'\]:", ".*")):
            EMHiddenMarkov(3, emission=emission, fixed=fixed).fit(X)


def test_skops_keeps_the_number_of_free_parameters(tmp_path):
    X = rows("full")
    model = quiet(learner("full", {"means": [0]}, max_iter=5), X)
    skops.io.dump(model, tmp_path / "model.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "model.skops")
    again = skops.io.load(tmp_path / "model.skops", trusted=unknown)
    assert again.bic(X, groups=GROUPS) == model.bic(X, groups=GROUPS)
    mixture = EMGaussianMixture(2, means_init=X[:2], fixed={"means": [0]}).fit(X)
    skops.io.dump(mixture, tmp_path / "mixture.skops")
    unknown = skops.io.get_untrusted_types(file=tmp_path / "mixture.skops")
    assert skops.io.load(tmp_path / "mixture.skops", trusted=unknown).bic(X) == mixture.bic(X)
