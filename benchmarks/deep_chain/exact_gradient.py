"""The exact chain as one differentiable function, against torch's own loop over the rows."""

import time

import numpy as np
import torch

from benchmarks import report
from benchmarks.suite import Section
from skvae.deep_chain.chain_likelihood import chain_log_likelihood

# Rows, states, sequences of a batch, dtype, matrices of transitions; and the least ratio of times.
CASES = {
    "200-4": (200, 4, 32, torch.float64, 1, 5),
    "200-16": (200, 16, 32, torch.float64, 1, 5),
    "1000-8": (1000, 8, 32, torch.float64, 1, 15),
    "200-64": (200, 64, 16, torch.float64, 1, 15),
    "200-16-float32": (200, 16, 32, torch.float32, 1, 5),
    "1000-8-float32": (1000, 8, 32, torch.float32, 1, 15),
    "200-64-float32": (200, 64, 16, torch.float32, 1, 15),
    "200-4-rows": (200, 4, 32, torch.float64, 200, None),
    "200-16-rows": (200, 16, 32, torch.float64, 200, None),
    "1000-8-rows": (1000, 8, 32, torch.float64, 1000, None),
    "200-16-rows-float32": (200, 16, 32, torch.float32, 200, None),
    "1000-8-rows-float32": (1000, 8, 32, torch.float32, 1000, None),
}


def by_torch(log_start, log_transmat, log_density):
    """Return ln p of sequences of equal length (B, T, K), all of them in one step of the loop.

    ``log_transmat`` is one matrix (1, 1, K, K), or those of all rows (B, T, K, K).
    """
    rows = log_density.unbind(1)
    matrices = log_transmat.expand(-1, len(rows), -1, -1).unbind(1)
    alpha = log_start + rows[0]
    for row, matrix in zip(rows[1:], matrices[1:], strict=True):
        alpha = torch.logsumexp(alpha[:, :, None] + matrix, 1) + row
    return torch.logsumexp(alpha, 1)


def measure(case, settings):
    """Return the row of a case: milliseconds of value and gradient, both ways."""
    n_rows, n_states, n_sequences, dtype, n_matrices, least = case
    generator = torch.Generator().manual_seed(settings.seed)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=dtype)

    log_start = torch.log_softmax(normal(n_states), 0).requires_grad_()
    batch = n_sequences if n_matrices > 1 else 1
    scores = normal(batch, n_matrices, n_states, n_states)
    log_transmat = torch.log_softmax(2 * scores, -1).requires_grad_()
    log_density = normal(n_sequences, n_rows, n_states).requires_grad_()
    weights = log_start, log_transmat, log_density
    offsets = np.arange(n_sequences + 1) * n_rows

    def ours():
        flat = log_density.reshape(-1, n_states)
        matrices = log_transmat.reshape(-1, n_states, n_states)
        matrices = matrices if n_matrices > 1 else matrices[0]
        total = chain_log_likelihood(log_start, matrices, flat, offsets).mean()
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
    target = report.verdict(other / one, settings.judged(least), sign="≥", unit="×")
    kind = "of each row" if n_matrices > 1 else "constant"
    sizes = f"{n_rows} × {n_states}, {n_sequences}, {str(dtype).removeprefix('torch.')}, {kind}"
    milliseconds = f"{1e3 * one:.2f} ms", f"{1e3 * other:.1f} ms"
    return [(sizes, *milliseconds, f"{other / one:.1f}×", target, f"{max(differences):.0e}")]


SECTION = Section(
    "exact-gradient",
    "The chain's exact gradient against torch's loop over the rows",
    "ln p of a batch of sequences of equal length, and its gradient with respect to starts, "
    "transitions and log-densities. The loop runs over the rows in log space, all sequences at a "
    "time. Processor time, one thread, interleaved, the least of all rounds.",
    (
        "rows × states, sequences, transitions",
        "skvae",
        "torch",
        "ratio",
        "target",
        "largest difference",
    ),
    CASES,
    measure,
)
