"""Training on a GPU, in one call: ``python -m benchmarks.vae.gpu --data FOLDER --output FILE``.

Writes two tables: seconds per epoch against a loop written by hand on the same device, for several
sizes of batches with and without mixed precision; and the held-out log-likelihood of Fashion-MNIST
against time. ``--minutes`` is the time of all together. ``--device cpu --quick`` shows on a CPU
that everything works.
"""

import argparse
import sys
import time
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import torch

from benchmarks import machine, report
from benchmarks.bayesian.problem import quietly
from benchmarks.suite import Settings
from benchmarks.timing import interleave, seconds_per_iteration
from benchmarks.vae import epoch, fashion
from benchmarks.vae.contenders import train_by_hand
from skvae import VariationalAutoencoder

PROBLEM = replace(epoch.CASES["784-400-20"], n_samples=60_000, n_epochs=4)
BATCHES = 128, 1024, 8192
PRIORS = "normal", "vamp"
_OF_EPOCHS = 0.3  # of the time, at most; the rest is for Fashion-MNIST
_COLUMNS = "batch", "mixed precision", "skvae", "by hand, fused", "skvae / by hand", "target"


def main(arguments=None):
    """Write both tables, and return the exit status."""
    options = _parser().parse_args(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: --device cpu --quick shows that the script works", file=sys.stderr)
        return 1
    begin, limit = time.perf_counter(), 60 * options.minutes
    settings = Settings(options.quick, data=options.data)
    name = torch.cuda.get_device_name() if options.device == "cuda" else "CPU"
    parts = [f"# Autoencoders on a GPU\n\n{machine.describe(torch.get_num_threads())}\n- {name}"]

    def publish(text):
        parts.append(text)
        print(text, end="\n\n", flush=True)
        if options.output:  # after each table: a call that is cut short has those before
            options.output.write_text("\n\n".join(parts) + "\n", encoding="utf-8")

    rows = [
        _epochs(batch_size, mixed, options.device, settings)
        for batch_size, mixed in product(BATCHES, (False, True))
        if time.perf_counter() - begin < _OF_EPOCHS * limit
    ]
    publish("## Seconds per epoch\n\n" + report.table(_COLUMNS, rows))
    for i, prior in enumerate(PRIORS):
        left = limit - (time.perf_counter() - begin)
        # A fifth is for the measurements of the curve.
        share = replace(settings, minutes=0.8 * left / 60 / (len(PRIORS) - i))
        with quietly():
            points = fashion.measure(prior, share, device=options.device, batch_size=500, lr=2e-3)
        title = f"## Fashion-MNIST against epochs: {prior}\n\n"
        publish(title + report.table(fashion.SECTION.columns, points))
    return 0


def _epochs(batch_size, mixed_precision, device, settings):
    """Return the row of a size of batches: seconds per epoch and their ratio."""
    problem = replace(PROBLEM, batch_size=batch_size)
    if settings.quick:
        problem = replace(problem, n_samples=1000, n_epochs=2)
    X = problem.make(settings.seed)
    x = torch.as_tensor(X, device=device)
    options = {"mixed_precision": mixed_precision, "batch_size": batch_size}

    def by_hand(n_epochs):
        train_by_hand(
            x, problem.sizes, problem.likelihood, n_epochs=n_epochs, fused=True, **options
        )
        _finish(device)

    def ours(n_epochs):
        _, n_hidden, n_components = problem.sizes
        VariationalAutoencoder(
            n_components,
            hidden_layer_sizes=(n_hidden,),
            likelihood=problem.likelihood,
            kl_warmup=0,
            max_epochs=n_epochs,
            lr=1e-3,
            early_stopping=False,
            random_state=0,
            device=device,
            **options,
        ).fit(X)
        _finish(device)

    measures = {
        name: partial(seconds_per_iteration, fit, first=1, last=1 + problem.n_epochs, at_least=0.1)
        for name, fit in (("skvae", ours), ("by hand, fused", by_hand))
    }
    with quietly():
        ours(1)
        by_hand(1)
        times = interleave(measures, 2 if settings.quick else 5)
    ratio = times["skvae"].over(times["by hand, fused"])
    return [
        *(f"{batch_size:,}", "yes" if mixed_precision else "no"),
        *(report.duration(spread) for spread in times.values()),
        report.ratio(ratio),
        report.verdict(ratio.median, settings.judged(problem.target), sign="≤", unit="×"),
    ]


def _finish(device):
    if device == "cuda":
        torch.cuda.synchronize()


def _parser():
    parser = argparse.ArgumentParser(prog="python -m benchmarks.vae.gpu", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="with the idx files")
    parser.add_argument("--minutes", type=float, default=9.0, help="of all together (default 9)")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--quick", action="store_true", help="small sizes: does it all work?")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the tables here too")
    return parser


if __name__ == "__main__":
    sys.exit(main())
