"""The bound module draws its own noise and returns the terms of the objective."""

import copy
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from skvae.neural.latent_model import LowerPrecision
from skvae.neural.training.batches import HELD_OUT_NOISE, NOISE, epoch_seed
from skvae.vae.bound_module import SampledBound
from skvae.vae.objective import row_bound
from tests.neural.training.training_problems import linear_rows, model_for, untouched_random_states


def setting(n_samples=40, **params):
    X = linear_rows(n_samples)
    model = model_for(X)
    with torch.no_grad():  # away from the first weights, where posteriors are the prior
        for weight in model.parameters():
            weight.add_(
                torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)), alpha=0.3
            )
    return SampledBound(model, seed=5, **params), torch.tensor(X, dtype=torch.float32)


def noise_of(seed, epoch, purpose, shape):
    generator = torch.Generator().manual_seed(epoch_seed(seed, epoch, purpose))
    return torch.randn(shape, generator=generator)


@pytest.mark.parametrize(
    ("params", "objective"),
    [
        ({}, {}),
        ({"beta": 0.3, "free_bits": 0.2}, {"beta": 0.3, "free_bits": 0.2}),
        ({"n_importance_samples": 4, "beta": 0.5}, {"importance": True, "beta": 0.5}),
    ],
)
def test_training_is_the_objective_with_noise_of_the_epoch(params, objective):
    bound, x = setting(**params)
    bound.train()
    bound.begin_epoch(7)
    shape = (params.get("n_importance_samples", 1), *x.shape[:1], 2)
    expected = row_bound(bound.model, x, None, noise_of(5, 7, NOISE, shape), **objective)
    given = bound(x)
    for term, value in zip(given, expected, strict=True):
        assert_allclose(term.detach(), value.detach(), rtol=1e-6)


@pytest.mark.parametrize("n_draws", [1, 3])
def test_evaluation_is_the_objective_of_training_after_its_warm_up(n_draws):
    importance = n_draws > 1
    shaped = {"beta": 0.1, "free_bits": 0.0 if importance else 2.0}
    bound, x = setting(n_importance_samples=n_draws, **shaped)
    bound.weight_kl(0.5)  # in the middle of the warm-up
    bound.eval()
    noise = noise_of(5, 0, HELD_OUT_NOISE, (n_draws, len(x), 2))
    plain = row_bound(bound.model, x, None, noise, importance=importance)
    expected = row_bound(bound.model, x, None, noise, importance=importance, **shaped)
    objective, true_bound, reconstruction, kl = bound(x)
    assert_allclose(objective.detach(), expected.objective.detach(), rtol=1e-6)
    assert_allclose(true_bound.detach(), plain.objective.detach(), rtol=1e-6)
    assert (objective - true_bound).abs().min() > 1e-3
    assert_allclose((reconstruction - kl).detach(), (plain[2] - plain[3]).detach(), rtol=1e-5)


def test_noise_of_training_is_new_each_epoch_and_that_of_evaluation_is_not():
    bound, x = setting()
    seen = {True: [], False: []}
    for epoch in (1, 2, 1):
        bound.begin_epoch(epoch)
        for training in (True, False):
            bound.train(training)
            seen[training].append(bound(x)[1].detach().numpy())
            again = bound(x)[1].detach().numpy()
            assert (again != seen[training][-1]).all()  # another batch, other noise
    assert (seen[True][0] != seen[True][1]).all()
    assert_array_equal(seen[True][0], seen[True][2])
    assert_array_equal(seen[False][0], seen[False][1])


def test_global_random_states_are_untouched():
    bound, x = setting()
    with untouched_random_states():
        bound(x)
        bound.eval()(x)


def test_missing_values_are_left_out():
    bound, x = setting()
    hole = torch.zeros_like(x, dtype=torch.bool)
    hole[::3, 1] = True
    terms = bound(torch.where(hole, torch.nan, x), ~hole)
    sum(term.sum() for term in terms).backward()
    assert all(torch.isfinite(term).all() for term in terms)
    assert all(torch.isfinite(weight.grad).all() for weight in bound.parameters())


def test_modes_are_walked_through_where_they_differ():
    bound, _ = setting()
    bound.eval()
    assert not any(part.training for part in bound.modules())
    bound.model.train()  # behind its back
    bound.eval()
    assert not any(part.training for part in bound.modules())
    bound.train()
    assert all(part.training for part in bound.modules())
    assert bound.train() is bound


@pytest.mark.parametrize("mixed_precision", [False, True])
def test_copies_and_pickles_go_on_from_the_next_epoch(mixed_precision):
    bound, x = setting(mixed_precision=mixed_precision)
    bound(x)
    for twin in (copy.deepcopy(bound), pickle.loads(pickle.dumps(bound))):
        bound.begin_epoch(3)
        twin.begin_epoch(3)
        assert_array_equal(twin(x)[0].detach(), bound(x)[0].detach())
        twin(x)[0].sum().backward()  # the copy's weights are those that its objective depends on
        assert all(weight.grad is not None for weight in twin.parameters())
        assert all(weight.grad is None for weight in bound.parameters())


def test_mixed_precision_is_of_encoder_and_decoder_only():
    full, x = setting()
    mixed = SampledBound(full.model, seed=5, mixed_precision=True)
    assert mixed.state_dict().keys() == full.state_dict().keys()
    seen = []
    hook = lambda module, inputs, output: seen.append(output.dtype)  # noqa: E731
    handles = [
        m.register_forward_hook(hook) for m in (full.model.encoder[0], full.model.decoder[0])
    ]
    terms, expected = mixed(x), full(x)
    assert seen == [torch.bfloat16] * 2 + [torch.float32] * 2
    assert {term.dtype for term in terms} == {torch.float32}
    for term, value in zip(terms, expected, strict=True):
        assert_allclose(term.detach(), value.detach(), rtol=0.05, atol=0.05)
    assert (terms[1] != expected[1]).any()
    seen.clear()
    assert_array_equal(mixed.eval()(x)[1].detach(), full.eval()(x)[1].detach())  # in full
    assert set(seen) == {torch.float32}
    for handle in handles:
        handle.remove()


def test_mixed_precision_keeps_pairs():
    class Pair(torch.nn.Module):
        def forward(self, inputs):
            return inputs @ torch.ones(3, 2), inputs @ torch.eye(3)[:, :2]

    x = torch.tensor(np.random.default_rng(0).normal(size=(4, 3)), dtype=torch.float32)
    mean, log_var = LowerPrecision(Pair())(x)
    assert mean.dtype == log_var.dtype == torch.float32
    assert_allclose(mean, x.sum(dim=1, keepdim=True).expand(4, 2), atol=0.05)
