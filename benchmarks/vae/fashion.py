"""Fashion-MNIST, binarised anew in every epoch: held-out log-likelihood against epochs."""

import time
from functools import partial

import numpy as np
import torch
from skorch.callbacks import Callback
from torch import nn

from benchmarks import report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Section
from benchmarks.vae.problem import images_in
from skvae import VariationalAutoencoder
from skvae.neural.importance import elbo_terms, in_double, log_likelihood

# Test log-likelihoods in the literature for this net, nats per image, after hundreds of epochs.
PUBLISHED = {"normal": -228.70, "mixture": None, "vamp": -227.35}
CASES = {prior: prior for prior in PUBLISHED}
N_HIDDEN, N_COMPONENTS = 300, 40
N_DRAWS, N_CORRECTED, N_PSEUDO = 5000, 200, 100
EPOCHS = (1, 2, 5, 10, 20, 35, 50, 75, 100, 150, 200, 300, 400, 500)  # that are in the curve


class Gated(nn.Module):
    """A linear map times the sigmoid of another."""

    def __init__(self, n_in, n_out):
        super().__init__()
        self.both = nn.Linear(n_in, 2 * n_out)

    def forward(self, x):
        """Return (n, n_out) of (n, n_in)."""
        return nn.functional.glu(self.both(x), dim=-1)


def gated(n_in, n_out):
    """Return two gated layers of N_HIDDEN units and a linear one."""
    return nn.Sequential(
        Gated(n_in, N_HIDDEN), Gated(N_HIDDEN, N_HIDDEN), nn.Linear(N_HIDDEN, n_out)
    )


class Binarised(Callback):
    """Draws every epoch's pixels from the grey values.

    Parameters
    ----------
    grey : tensor of shape (n, 784), uint8
    seed : int
    """

    def __init__(self, grey, seed):
        self.grey, self.seed = grey, seed

    def on_epoch_begin(self, net, dataset_train=None, **kwargs):
        """Replace the rows."""
        generator = torch.Generator().manual_seed(self.seed + len(net.history))
        chance = torch.rand(self.grey.shape, generator=generator)
        dataset_train.x = (255.0 * chance < self.grey).float().to(dataset_train.x.device)


class Curve(Callback):
    """Measures the held-out log-likelihood at some epochs, and ends training at the limit of time.

    The learning rate falls linearly with the time spent, to zero at the limit.

    Parameters
    ----------
    test : ndarray of shape (n, 784)
        Binarised once.
    minutes : float
        Of training; measuring does not count.
    clock : callable
        Returns seconds.
    n_draws, n_corrected : int
        Draws of importance sampling, and rows that have them.
    seed : int
    """

    def __init__(self, test, minutes, clock, n_draws, n_corrected, seed):
        self.test, self.minutes, self.clock, self.seed = test, minutes, clock, seed
        self.n_draws, self.n_corrected = n_draws, n_corrected

    def on_train_begin(self, net, **kwargs):
        """Start the clock."""
        self.rates_ = [group["lr"] for group in net.optimizer_.param_groups]
        self.points_, self.spent_, self.begin_ = [], 0.0, self.clock()

    def on_epoch_end(self, net, **kwargs):
        """Add a point; at the limit of time raise KeyboardInterrupt, which stops skorch."""
        spent = self.spent_ + self.clock() - self.begin_
        epoch, last = len(net.history), len(net.history) == net.max_epochs
        left = 1.0 - spent / (60 * self.minutes)
        up = left <= 0.0
        for group, rate in zip(net.optimizer_.param_groups, self.rates_, strict=True):
            group["lr"] = rate * max(left, 0.0)
        if epoch in EPOCHS or up or last:
            found = held_out(
                net.module_.model, self.test, self.n_draws, self.n_corrected, self.seed
            )
            self.points_.append((epoch, spent, *found))
        self.spent_, self.begin_ = spent, self.clock()
        if up:
            raise KeyboardInterrupt


def held_out(model, x, n_draws, n_corrected, seed):
    """Return the mean log-likelihood of rows, its error by correcting few, and the mean ELBO.

    Thousands of draws for thousands of images take longer than training. The ELBO of all images is
    cheap, and its gap hardly differs between images, so the gap is estimated from a few.
    """
    model = in_double(model)
    bound = elbo_terms(model, x, 1, seed=seed).elbo
    few = x[:n_corrected]
    # The ELBO of as many draws, so that its noise is not in the difference.
    closer = log_likelihood(model, few, n_draws, seed=seed).log_likelihood
    gap = closer - elbo_terms(model, few, min(n_draws, 200), seed=seed).elbo
    error = gap.std() / np.sqrt(len(gap))
    return bound.mean() + gap.mean(), error, bound.mean()


def measure(prior, settings, *, device="cpu", batch_size=100, lr=1e-3):
    """Return a row for each point of the curve of a prior.

    Times are of the processor, or of the clock where another device computes.
    """
    if settings.data is None:
        said = "skipped: no `--data` with the images was given"
        return [[prior, said, *[report.NOT_APPLICABLE] * 5]]
    grey, grey_test = (images_in(settings.data, part) for part in ("train", "test"))
    if settings.quick:
        grey, grey_test = grey[:2000], grey_test[:200]
    rng = np.random.default_rng(settings.seed)
    first, test = (
        (255.0 * rng.random(g.shape, dtype=np.float32) < g).astype(np.float32)
        for g in (grey, grey_test)
    )
    clock = time.process_time if device == "cpu" else time.perf_counter
    minutes, *sizes = (0.05, 50, 20) if settings.quick else (settings.minutes, N_DRAWS, N_CORRECTED)
    curve = Curve(test.astype(np.float64), minutes, clock, *sizes, settings.seed)
    training = {"device": device, "batch_size": batch_size, "lr": lr}
    points = _points(prior, first, grey, curve, settings, training)
    published = PUBLISHED[prior]
    rows = []
    for epoch, spent, value, error, bound in points:
        behind = report.NOT_APPLICABLE if published is None else f"{value - published:+.2f}"
        shown = report.NOT_APPLICABLE if published is None else f"{published:.2f}"
        row = [prior, str(epoch), f"{spent / 60:.1f} min", f"{bound:.2f}"]
        rows.append([*row, f"{value:.2f} ± {error:.2f}", shown, behind])
    return rows


def _points(prior, first, grey, curve, settings, training):
    """Return the curve's points of a fit with a prior."""
    vae = VariationalAutoencoder(
        N_COMPONENTS,
        encoder=partial(gated, first.shape[1], 2 * N_COMPONENTS),
        decoder=partial(gated, N_COMPONENTS, first.shape[1]),
        likelihood="bernoulli",
        prior=prior,
        n_prior_components=20 if settings.quick else N_PSEUDO,
        kl_warmup=0 if settings.quick else 10,
        max_epochs=2 if settings.quick else EPOCHS[-1],
        early_stopping=False,
        callbacks=[Binarised(torch.as_tensor(np.array(grey)), settings.seed), curve],
        random_state=settings.seed,
        **training,
    )
    with quietly():
        vae.fit(first)
    # The net has copies of the callbacks.
    return next(c for _, c in vae.net_.callbacks_ if isinstance(c, Curve)).points_


SECTION = Section(
    name="vae-fashion",
    title="Autoencoders: Fashion-MNIST against epochs",
    method=(
        "60,000 images, pixels drawn anew from the grey values in each epoch; two gated layers of "
        "300 in encoder and decoder, 40 latent dimensions, Adam with 1e-3, falling linearly "
        "to zero with the time, batches of 100, 10 epochs of warm-up; 100 components in the other "
        "priors. Minutes of the processor's time. "
        "10,000 test images, binarised once: log-likelihood by importance sampling with "
        f"{N_DRAWS:,} draws of {N_CORRECTED} images as a correction of the ELBO of all, ± its "
        "standard error; nats per image, and less the published."
    ),
    columns=["prior", "epoch", "trained", "ELBO", "log-likelihood", "published", "difference"],
    cases=CASES,
    measure=measure,
)
