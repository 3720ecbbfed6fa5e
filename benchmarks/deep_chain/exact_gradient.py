"""The exact chain as one differentiable function, against torch's own loop over the rows."""

import time

import numpy as np
import torch

from benchmarks.suite import Section
from skvae.deep_chain.chain_likelihood import chain_log_likelihood

# Rows, states, sequences of a batch, dtype; and the least ratio of times.
CASES = {
    "200-4": (200, 4, 32, torch.float64, 5),
    "200-16": (200, 16, 32, torch.float64, 5),
    "1000-8": (1000, 8, 32, torch.float64, 15),
    "200-64": (200, 64, 16, torch.float64, 15),
    "200-16-float32": (200, 16, 32, torch.float32, 5),
    "1000-8-float32": (1000, 8, 32, torch.float32, 15),
    "200-64-float32": (200, 64, 16, torch.float32, 15),
}


def by_torch(log_start, log_transmat, log_density):
    """Return ln p of sequences of equal length (B, T, K), all of them in one step of the loop."""
    rows = log_density.unbind(1)
    alpha = log_start + rows[0]
    for row in rows[1:]:
        alpha = torch.logsumexp(alpha[:, :, None] + log_transmat, 1) + row
    return torch.logsumexp(alpha, 1)


def measure(case, settings):
    """Return the row of a case: milliseconds of value and gradient, both ways."""
    n_rows, n_states, n_sequences, dtype, least = case
    generator = torch.Generator().manual_seed(settings.seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    log_start = torch.log_softmax(normal(n_states), 0).requires_grad_()
    log_transmat = torch.log_softmax(2 * normal(n_states, n_states), 1).requires_grad_()
    log_density = normal(n_sequences, n_rows, n_states).requires_grad_()
    weights = log_start, log_transmat, log_density
    offsets = np.arange(n_sequences + 1) * n_rows

    def ours():
        flat = log_density.reshape(-1, n_states)
        total = chain_log_likelihood(log_start, log_transmat, flat, offsets).mean()
        return torch.autograd.grad(total, weights)

    def theirs():
        return torch.autograd.grad(by_torch(*weights).mean(), weights)

    times = {ours: [], theirs: []}
    differences = [float((a - b).abs().max()) for a, b in zip(ours(), theirs(), strict=True)]
    for _ in range(settings.rounds):
        for way, found in times.items():
            begin = time.process_time()
            way()
            found.append(time.process_time() - begin)
    one, other = (float(min(found)) for found in times.values())
    ratio = other / one
    target = settings.judged(f"≥ {least}×: {'reached' if ratio >= least else 'missed'}") or "–"
    sizes = f"{n_rows} × {n_states}, {n_sequences}, {str(dtype).removeprefix('torch.')}"
    error = f"{max(differences):.0e}"
    return [(sizes, f"{1e3 * one:.2f} ms", f"{1e3 * other:.1f} ms", f"{ratio:.1f}×", target, error)]


SECTION = Section(
    "exact-gradient",
    "The chain's exact gradient against torch's loop over the rows",
    "ln p of a batch of sequences of equal length, and its gradient with respect to starts, "
    "transitions and log-densities. The loop runs over the rows in log space, all sequences at a "
    "time. Processor time, one thread, interleaved, the least of all rounds.",
    ("rows × states, sequences", "skvae", "torch", "ratio", "target", "largest difference"),
    CASES,
    measure,
)
