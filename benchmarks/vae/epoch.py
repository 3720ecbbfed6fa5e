"""Seconds per epoch against a loop written by hand for this net alone, and against pythae."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.timing import interleave, seconds_per_iteration
from benchmarks.vae.contenders import HAS_PYTHAE, train_by_hand, train_by_pythae
from benchmarks.vae.problem import binary_images
from skvae import VariationalAutoencoder


@dataclass(frozen=True)
class Problem:
    """A net, its data and the number of epochs that takes long enough to be measured."""

    sizes: tuple[int, int, int]
    likelihood: str
    batch_size: int
    n_samples: int
    n_epochs: int
    target: float

    def make(self, seed):
        """Return the rows, ndarray float32."""
        if self.likelihood == "bernoulli":
            X = binary_images(self.n_samples, seed)
        else:
            X = np.random.default_rng(seed).normal(size=(self.n_samples, self.sizes[0]))
        return X.astype(np.float32)


CASES = {
    "784-400-20": Problem((784, 400, 20), "bernoulli", 128, 6400, 3, target=1.05),
    "16-64-4": Problem((16, 64, 4), "gaussian", 256, 25_600, 8, target=1.10),
}


def measure(problem, settings):
    """Return the row of a net: seconds per epoch, and their ratios."""
    if settings.quick:
        problem = replace(problem, n_samples=problem.n_samples // 10)
    X = problem.make(settings.seed)
    x = torch.as_tensor(X)
    same = {"batch_size": problem.batch_size}
    fits = {"skvae": partial(_fit, problem, X)}
    for name, fused in (("by hand", False), ("by hand, fused", True)):
        fits[name] = partial(_by_hand, x, problem, fused=fused, **same)
    if HAS_PYTHAE:
        fits["pythae"] = partial(_by_pythae, x, problem, **same)
    measures = {
        name: partial(
            seconds_per_iteration,
            fit,
            first=1,
            last=1 + problem.n_epochs,
            at_least=0.05 if settings.quick else 2.0,
        )
        for name, fit in fits.items()
    }
    with quietly():
        interleave({name: partial(_warm, fit) for name, fit in fits.items()}, 1)
        times = interleave(measures, settings.rounds)
    ours = times["skvae"]
    row = ["-".join(map(str, problem.sizes)), problem.likelihood, str(problem.batch_size)]
    row += [_cell(times, name, report.duration) for name in _NAMES]
    target = settings.judged(problem.target)
    for name in _NAMES[1:3]:
        ratio = ours.over(times[name])
        row += [report.ratio(ratio), report.verdict(ratio.median, target, sign="≤", unit="×")]
    ratios = {name: spread.over(ours) for name, spread in times.items()}
    row.append(_cell(ratios, "pythae", report.ratio))
    faster = settings.judged(1.0) if "pythae" in ratios else None
    value = ratios["pythae"].median if "pythae" in ratios else 0.0
    return [[*row, report.verdict(value, faster, sign="≥", unit="×")]]


def _fit(problem, X, n_epochs):
    _, n_hidden, n_components = problem.sizes
    gaussian = problem.likelihood == "gaussian"
    VariationalAutoencoder(
        n_components,
        hidden_layer_sizes=(n_hidden,),
        likelihood=problem.likelihood,
        likelihood_params={"scale": "feature"} if gaussian else None,
        prior="normal",
        kl_warmup=0,
        max_epochs=n_epochs,
        batch_size=problem.batch_size,
        lr=1e-3,
        early_stopping=False,
        random_state=0,
        device="cpu",
    ).fit(X)


def _by_hand(x, problem, n_epochs, *, fused, batch_size):
    train_by_hand(
        x, problem.sizes, problem.likelihood, batch_size=batch_size, n_epochs=n_epochs, fused=fused
    )


def _by_pythae(x, problem, n_epochs, *, batch_size):
    train_by_pythae(x, problem.sizes, problem.likelihood, batch_size=batch_size, n_epochs=n_epochs)


def _warm(fit):
    fit(1)
    return 0.0


def _cell(spreads, name, text):
    return text(spreads[name]) if name in spreads else report.NOT_APPLICABLE


_NAMES = ("skvae", "by hand", "by hand, fused", "pythae")

SECTION = Section(
    name="vae-epoch",
    title="Autoencoders: seconds per epoch",
    method=(
        "Features-hidden-latent, float32, the same net, size of batches and Adam for all, one "
        "draw, on the CPU: 6,400 images, or 25,600 rows. Seconds of a fit with several epochs "
        "minus those of a fit with one, divided by the difference of epochs: work that a fit does "
        "once cancels. The loop by hand indexes one tensor, reads no loss and records nothing; "
        "with torch's default Adam and with its fused Adam, which skvae uses. skvae has a normal "
        "prior and σ per feature; with Gaussian noise a linear map lies beside each network, in "
        "skvae and in the loop by hand. pythae has no such maps, and σ = 1."
    ),
    columns=[
        "net",
        "likelihood",
        "batch",
        *_NAMES,
        "skvae / by hand",
        "target",
        "skvae / fused",
        "target",
        "pythae / skvae",
        "target",
    ],
    cases=CASES,
    measure=measure,
)
