"""A short run of the fuzzer on hostile input; ``python -m tests.faults.fuzz`` is the long one."""

import contextlib

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings

from tests.faults.cases import BAYES, CHAIN, MIXTURE, NET, cases
from tests.faults.checks import run

_PHASES = [Phase.explicit, Phase.generate]  # `tests.faults.fuzz --case` makes a case simpler


@pytest.fixture(autouse=True, scope="module")
def _one_torch_thread():
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(n_threads)


@pytest.fixture(autouse=True, scope="module")
def _folder(tmp_path_factory):
    """A word as ``checkpoint`` is a file in the folder that is worked in."""
    with contextlib.chdir(tmp_path_factory.mktemp("fuzz")):
        yield


def short(n_cases):
    """Settings of so many cases where CI runs them, and of a third by default."""
    n_cases = n_cases * settings().max_examples // 25
    return settings(max_examples=n_cases, phases=_PHASES, suppress_health_check=list(HealthCheck))


@short(250)
@given(cases(MIXTURE))
def test_mixture_survives_hostile_input(case):
    run(case)


@short(250)
@given(cases(CHAIN))
def test_chain_survives_hostile_input(case):
    run(case)


@short(200)
@given(cases(BAYES))
def test_bayesian_mixture_survives_hostile_input(case):
    run(case)


@short(60)
@given(cases(NET))
def test_autoencoder_survives_hostile_input(case):
    run(case)
