"""The model's parts: densities against the linear-Gaussian oracle, shapes, custom modules."""

import copy

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from torch import nn

from skvae.neural.latent_model import LatentModel, make_model
from skvae.neural.likelihoods import make_likelihood
from skvae.neural.networks import isolated_random
from skvae.neural.posteriors import COVARIANCES
from skvae.neural.priors import PRIORS
from skvae.vae.objective import row_bound
from tests.vae.fakes import FixedGaussian, linear_model, linear_problem, log_weights, noise

D, L = 5, 2


@pytest.fixture(autouse=True)
def _global_state_stays():
    """Every test here leaves torch's global random state alone."""
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(before, torch.random.get_rng_state())


def make(**parameters):
    parameters = {"n_components": L, "hidden_layer_sizes": (7,), "seed": 0} | parameters
    return make_model(FixedGaussian(np.ones(D)).float(), **parameters)


def rows(n=6, seed=0):
    return torch.from_numpy(linear_problem(D, L).sample(n, seed))


def test_exact_posterior_makes_every_weight_the_evidence():
    problem = linear_problem(D, L)
    model, x = linear_model(problem), rows()
    weights = log_weights(model, x, None, noise(50, len(x), L)).detach()
    evidence = problem.log_evidence(x.numpy())
    assert_allclose(weights, np.broadcast_to(evidence, (50, len(x))), rtol=1e-12)
    mean, covariance = problem.posterior(x.numpy())
    posterior = model.encode(x)
    assert_allclose(posterior.mean.detach(), mean, rtol=1e-10)
    assert_allclose(posterior.variance.detach(), np.diagonal(covariance, 0, 1, 2), rtol=1e-10)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_terms_are_the_oracle_s(covariance):
    problem = linear_problem(D, L)
    model = linear_model(problem, covariance=covariance, perturbation=0.3)
    x = rows()
    log_likelihood, log_prior, log_q, z, posterior = model.terms(x, None, noise(9, len(x), L))
    for i in range(len(x)):
        expected = problem.log_joint(x[i].numpy(), z[:, i].detach().numpy())
        assert_allclose((log_likelihood + log_prior)[:, i].detach(), expected, rtol=1e-12)
    assert_allclose(log_q.detach(), posterior.log_prob(z).detach(), rtol=1e-12)


@pytest.mark.parametrize("covariance", COVARIANCES)
def test_missing_entries_leave_the_marginal_model(covariance):
    problem = linear_problem(D, L)
    model = linear_model(problem, covariance=covariance, perturbation=0.3)
    x = rows()
    x[:, [1, 3]] = torch.nan
    seen = torch.tensor([0, 2, 4])
    small = copy.deepcopy(model)
    small.likelihood = FixedGaussian(problem.variances[seen.numpy()])
    small.n_outputs = len(seen)
    for layer, dimension in ((small.encoder, 1), (small.decoder, 0)):
        layer.weight = nn.Parameter(layer.weight.detach().index_select(dimension, seen))
    small.decoder.bias = nn.Parameter(small.decoder.bias.detach()[seen])
    epsilon = noise(9, len(x), L)
    partial = log_weights(model, x, ~x.isnan(), epsilon).detach()
    assert_allclose(partial, log_weights(small, x[:, seen], None, epsilon).detach(), rtol=1e-12)


def test_row_with_nothing_observed_has_evidence_zero_under_the_prior():
    model = linear_model(linear_problem(D, L))
    with torch.no_grad():
        model.encoder.weight.zero_()
        model.encoder.bias.zero_()
    x = torch.full((2, D), torch.nan, dtype=torch.float64)
    weights = log_weights(model, x, ~x.isnan(), noise(9, 2, L)).detach()
    assert_allclose(weights, np.zeros((9, 2)), atol=1e-14)


@pytest.mark.parametrize("prior", PRIORS)
@pytest.mark.parametrize("covariance", COVARIANCES)
def test_shapes(prior, covariance):
    model = make(prior=prior, covariance=covariance, n_prior_components=3)
    x, epsilon = rows(6).float(), noise(4, 6, L, dtype=torch.float32)
    terms = model.terms(x, None, epsilon)
    assert [tuple(t.shape) for t in terms[:4]] == [(4, 6)] * 3 + [(4, 6, L)]
    assert {t.dtype for t in terms[:4]} == {torch.float32}
    assert log_weights(model, x, None, epsilon).shape == (4, 6)
    assert model.decode(terms.z).shape == (4, 6, D)
    assert model.decode(terms.z[0]).shape == (6, D)
    assert_allclose(
        model.decode(terms.z)[2].detach(), model.decode(terms.z[2]).detach(), rtol=1e-5, atol=1e-6
    )


def test_decoder_mirrors_the_encoder():
    model = make(hidden_layer_sizes=(9, 8), covariance="full", n_components=3)
    assert _widths(model.encoder) == [(D, 9), (9, 8), (8, 3 + 6)]
    assert _widths(model.decoder) == [(3, 8), (8, 9), (9, D)]
    linear = make(hidden_layer_sizes=())
    assert _widths(linear.encoder) == [(D, 2 * L)]
    assert _widths(linear.decoder) == [(L, D)]


def _widths(net):
    return [(m.in_features, m.out_features) for m in net.modules() if isinstance(m, nn.Linear)]


def test_training_starts_near_the_marginal_model():
    model = make(hidden_layer_sizes=(64,))
    x = rows(200).float()
    posterior = model.encode((x - x.mean(0)) / x.std(0))
    assert 0.02 < posterior.kl_normal().mean() < 1  # the latents tell rows apart
    assert model.decode(noise(200, L, dtype=torch.float32)).square().mean() < 0.1


@pytest.mark.parametrize("prior", PRIORS)
def test_seed_decides_all_first_weights(prior):
    one, same, other = (make(prior=prior, seed=seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(one[k], same[k]) for k in one)
    assert not any(torch.equal(one[k], other[k]) for k in one if k.endswith("weight"))
    custom = make(prior=prior, seed=0, encoder=lambda: nn.Linear(D, 2 * L)).state_dict()
    unchanged = [k for k in one if k.startswith(("decoder", "prior"))]
    assert all(torch.equal(one[k], custom[k]) for k in unchanged)


@pytest.mark.parametrize("prior", PRIORS)
def test_copies_and_states_are_equal(prior):
    model = make(prior=prior)
    x, epsilon = rows().float(), noise(3, 6, L, dtype=torch.float32)
    row_bound(model, x, None, epsilon).objective.mean().backward()
    expected = log_weights(model, x, None, epsilon).detach()
    assert_array_equal(log_weights(copy.deepcopy(model), x, None, epsilon).detach(), expected)
    other = make(prior=prior, seed=1)
    other.load_state_dict(model.state_dict())
    assert_array_equal(log_weights(other, x, None, epsilon).detach(), expected)
    precise = copy.deepcopy(model).double()
    found = log_weights(precise, x.double(), None, epsilon.double())
    assert found.dtype == torch.float64
    assert_allclose(found.detach(), expected, rtol=1e-4, atol=1e-4)


def test_vamp_starts_at_rows():
    x = rows(30).float()
    model = make(prior="vamp", n_prior_components=4, pseudo_inputs=x)
    for u in model.prior.pseudo_inputs.detach():
        assert (x == u).all(1).any()
    density = model.prior_density()
    assert_array_equal(
        density.components.mean.detach(), model.encode(model.prior.pseudo_inputs).mean.detach()
    )


class Pair(nn.Module):
    """An encoder that gives means and log variances apart."""

    def __init__(self):
        super().__init__()
        self.mean, self.log_var = nn.Linear(D, L), nn.Linear(D, L)

    def forward(self, x):
        return self.mean(x), self.log_var(x)


@pytest.mark.parametrize("form", ["class", "instance", "function"])
def test_custom_modules(form):
    with isolated_random(0):
        encoder = {"class": Pair, "instance": Pair(), "function": lambda: Pair()}[form]
    model = make(encoder=encoder, decoder=lambda: nn.Linear(L, D, dtype=torch.float64))
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    x = rows().float()
    assert_array_equal(model.encode(x).mean.detach(), model.encoder.mean(x).detach())
    before = copy.deepcopy(encoder.state_dict()) if form == "instance" else {}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    row_bound(model, x, None, noise(1, 6, L, dtype=torch.float32)).objective.mean().backward()
    assert all(p.grad is not None for p in model.parameters())
    optimizer.step()
    if form == "instance":
        assert all(torch.equal(before[k], v) for k, v in encoder.state_dict().items())
        assert not torch.equal(model.encoder.mean.weight, encoder.mean.weight)


def test_lazy_modules_get_their_weights_under_the_seed():
    models = [make(encoder=lambda: nn.LazyLinear(2 * L), seed=seed) for seed in (0, 0, 1)]
    weights = [m.encoder.weight for m in models]
    assert weights[0].shape == (2 * L, D)
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


class Noisy(nn.Module):
    """An encoder with statistics and randomness of its own, part of it frozen."""

    def __init__(self):
        super().__init__()
        self.norm, self.frozen = nn.BatchNorm1d(D), nn.BatchNorm1d(D).eval()
        self.drop, self.layer = nn.Dropout(0.5), nn.Linear(D, 2 * L)

    def forward(self, x):
        return self.layer(self.drop(self.frozen(self.norm(x))))


def test_trial_leaves_no_trace():
    model = make(encoder=Noisy)
    assert model.encoder.norm.num_batches_tracked == 0
    assert model.encoder.training
    assert model.encoder.drop.training
    assert not model.encoder.frozen.training


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        (
            {"encoder": lambda: nn.Linear(D, 3)},
            r"encoder gave one tensor of shape \(2, 3\): for n_components=2 .* \(rows, 4\)",
        ),
        (
            {"encoder": lambda: nn.Linear(D, 4), "covariance": "full"},
            r"for n_components=2 and a full covariance it must give \(rows, 5\)",
        ),
        (
            {"encoder": lambda: nn.Linear(D + 1, 4)},
            f"encoder cannot read rows of {D} numbers: mat1 and mat2",
        ),
        (
            {"decoder": lambda: nn.Linear(3, D)},
            "decoder cannot read rows of n_components=2 numbers: mat1 and mat2",
        ),
        (
            {"decoder": lambda: nn.Linear(L, 2 * D)},
            rf"decoder gave shape \(2, {2 * D}\): must give one tensor of shape \(2, {D}\)",
        ),
        (
            {"decoder": Pair, "n_components": D, "encoder": lambda: nn.Linear(D, 2 * D)},
            rf"decoder gave tuple: must give one tensor of shape \(2, {D}\)",
        ),
        ({"encoder": "conv"}, "encoder='conv': must be None"),
        ({"decoder": 3}, "decoder=3: must be None"),
        ({"covariance": "tied"}, "covariance='tied': must be one of 'diag', 'full'"),
        ({"prior": "flat"}, "prior='flat': must be one of"),
        ({"activation": "sine"}, "activation='sine': must be one of"),
    ],
)
def test_wrong_parameters(parameters, message):
    with pytest.raises(ValueError, match=message):
        make(**parameters)


def test_wrong_widths_after_the_trial():
    """A module that changes its mind is caught in use too."""
    model = make()
    with isolated_random(0):
        model.decoder = nn.Linear(L, D + 1)
    with pytest.raises(ValueError, match=rf"decoder gave shape \(6, {D + 1}\)"):
        model.decode(torch.zeros(6, L))
    model.decoder = nn.Unflatten(1, (1, L))
    with pytest.raises(ValueError, match=rf"decoder gave shape \(6, 1, {L}\)"):
        model.decode(torch.zeros(2, 3, L))


def test_likelihood_is_copied():
    likelihood = FixedGaussian(np.ones(D))
    model = make_model(likelihood, n_components=L, seed=0)
    assert model.likelihood is not likelihood
    assert isinstance(model, LatentModel)


# With the likelihoods of the package ------------------------------------------------------------


def test_gaussian_likelihood_reaches_the_evidence():
    """Of prepared rows, with scales of its own."""
    problem = linear_problem(D, L)
    likelihood = make_likelihood("gaussian", problem.sample(50, seed=2)).double()
    with torch.no_grad():
        likelihood.raw_scale.add_(noise(D, seed=3))
        zeros = torch.zeros(1, D, dtype=torch.float64)
        log_peak = likelihood.log_terms(zeros, zeros)[0].numpy()
    problem = problem._replace(variances=np.exp(-2 * log_peak) / (2 * np.pi))
    model, x = linear_model(problem), rows()
    model.likelihood = likelihood
    weights = log_weights(model, x, None, noise(5, len(x), L)).detach()
    evidence = problem.log_evidence(x.numpy())
    assert_allclose(weights, np.broadcast_to(evidence, (5, len(x))), rtol=1e-12)


TABLES = {
    "gaussian": lambda rng: rng.normal(3, 2, size=(40, 4)),
    "student_t": lambda rng: rng.standard_t(3, size=(40, 4)),
    "bernoulli": lambda rng: rng.integers(0, 2, size=(40, 4)),
    "continuous_bernoulli": lambda rng: rng.uniform(size=(40, 4)),
    "categorical": lambda rng: rng.integers(0, 3, size=(40, 4)),
    "poisson": lambda rng: rng.poisson(4, size=(40, 4)),
    "negative_binomial": lambda rng: rng.negative_binomial(2, 0.3, size=(40, 4)),
    "log_normal": lambda rng: rng.lognormal(size=(40, 4)),
    "gamma": lambda rng: rng.gamma(2.0, size=(40, 4)),
    "beta": lambda rng: rng.beta(2.0, 0.5, size=(40, 4)),
}


@pytest.mark.parametrize("importance", [False, True])
@pytest.mark.parametrize("family", TABLES)
def test_every_likelihood_trains_with_missing_entries(family, importance):
    rng = np.random.default_rng(0)
    X = TABLES[family](rng).astype(float)
    X[rng.uniform(size=X.shape) < 0.3] = np.nan
    X[0] = np.nan
    likelihood = make_likelihood(family, X)
    model = make_model(likelihood, n_components=L, hidden_layer_sizes=(6,), seed=0)
    x = torch.from_numpy(likelihood.prepare(X)).float()
    epsilon = noise(3, len(x), L, dtype=torch.float32)
    bound = row_bound(model, x, ~x.isnan(), epsilon, importance=importance)
    assert_allclose(bound.reconstruction[0].detach(), 0, atol=1e-7)  # nothing observed
    (-bound.objective.mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().sum() > 0, name
