"""Two batched inside–outside algorithms in torch: in log space by autograd, and scaled by hand.

The inside probability of a span is the sum, over rules and over the positions of a split, of a
rule's probability times the inside probabilities of both parts (Baker 1979; Lari & Young 1990).
Both functions compute all spans of one width, of all sentences and with all splits, in one
operation, as Rush (2020) describes. The sentences have one length, so nothing is padded.

References
----------
Rush, A. (2020). Torch-Struct: deep structured prediction library. ACL, system demonstrations.
"""

from typing import NamedTuple

import torch


class Counts(NamedTuple):
    """Expected counts under the posterior over trees, summed over sentences but for the leaves.

    Parameters
    ----------
    starts : Tensor of shape (K,)
    rules : Tensor of shape (K, K, K)
    leaves : Tensor of shape (n_sentences, length, K)
    log_likelihood : float
        Of all sentences.
    """

    starts: torch.Tensor
    rules: torch.Tensor
    leaves: torch.Tensor
    log_likelihood: float


def by_autograd(startprob, rules, leafprob, log_leaf):
    """Return the Counts, as the gradient of the log-likelihood in log space.

    As in Torch-Struct's SentCFG, each width keeps the score of each rule in each span, whose
    gradient is the posterior of that rule there, and the gradient is itself part of a graph, so
    that it can be differentiated. Torch-Struct has separate labels for leaves, which would make the
    arrays of rules four times as large for these grammars; here they are the nonterminals.

    Parameters
    ----------
    startprob, rules, leafprob : Tensor of shape (K,), (K, K, K), (K,)
    log_leaf : Tensor of shape (n_sentences, length, K)
        Log-probabilities of the words given a leaf's label.
    """
    n_sentences, n, k = log_leaf.shape
    words = (log_leaf + leafprob.log()).requires_grad_()
    log_rules = rules.log().requires_grad_()  # so that the scores of rules are part of the graph
    spans, used = [words], []
    for width in range(2, n + 1):
        n_spans = n - width + 1
        left = torch.stack([spans[w - 1][:, :n_spans] for w in range(1, width)], 2)
        right = torch.stack([spans[width - w - 1][:, w : w + n_spans] for w in range(1, width)], 2)
        pairs = (left.unsqueeze(-1) + right.unsqueeze(-2)).logsumexp(2)
        used.append(pairs.unsqueeze(2) + log_rules)
        spans.append(used[-1].view(n_sentences, n_spans, k, k * k).logsumexp(-1))
    roots = spans[-1][:, 0] + startprob.log()
    log_likelihood = roots.logsumexp(-1).sum()
    starts, leaves, *trees = torch.autograd.grad(
        log_likelihood, (roots, words, *used), create_graph=True
    )
    summed = sum((tree.sum((0, 1)) for tree in trees), torch.zeros_like(rules))
    return Counts(starts.sum(0).detach(), summed.detach(), leaves.detach(), log_likelihood.item())


@torch.no_grad()
def by_hand(startprob, rules, leafprob, log_leaf):
    """Return the Counts, with the products of both parts summed over splits before a rule is used.

    Probabilities have one scale for each sentence and width. Nothing is kept for autograd: the
    outside pass is written out, and its parts are matrix products.

    Parameters
    ----------
    startprob, rules, leafprob : Tensor of shape (K,), (K, K, K), (K,)
    log_leaf : Tensor of shape (n_sentences, length, K)
        Log-probabilities of the words given a leaf's label.
    """
    n_sentences, n, k = log_leaf.shape
    flat = rules.view(k, k * k)
    # begins[:, i, w - 1] is the span of w words from i, ends[:, j, n - w] the one that ends at j:
    # the parts of all splits are then slices of both in the same order.
    begins, ends = (log_leaf.new_empty(n_sentences, n, n, k) for _ in range(2))
    scales = log_leaf.new_zeros(n_sentences, n)
    highest = log_leaf.amax(2, keepdim=True)
    begins[:, :, 0] = ends[:, :, n - 1] = leafprob * (log_leaf - highest).exp()
    kept = [None]
    for w in range(1, n):
        both = scales[:, :w] + scales[:, :w].flip(1)
        top = both.amax(1, keepdim=True)
        factors = (both - top).exp_().view(n_sentences, 1, w, 1)
        left = (begins[:, : n - w, :w] * factors).view(-1, w, k)
        right = ends[:, w:, n - w :].reshape(-1, w, k)
        pairs = torch.bmm(left.transpose(1, 2), right).view(-1, k * k)
        inside = (pairs @ flat.T).view(n_sentences, n - w, k)
        size = inside.amax((1, 2), keepdim=True)
        begins[:, : n - w, w] = ends[:, w:, n - 1 - w] = inside.div_(size)
        scales[:, w] = (top + size.view(-1, 1).log()).view(-1)
        left.view(n_sentences, -1).div_(size.view(-1, 1))
        pairs.view(n_sentences, -1).div_(size.view(-1, 1))
        kept.append((left, right, pairs, factors / size.unsqueeze(1)))
    root = begins[:, 0, n - 1] * startprob
    total = root.sum(1, keepdim=True)
    starts = root / total
    log_likelihood = float((total.log() + scales[:, -1:]).sum() + highest.sum())
    # Outside probabilities, scaled such that times the inside ones they are posteriors.
    of_begins, of_ends = torch.zeros_like(begins), torch.zeros_like(ends)
    of_begins[:, 0, n - 1] = startprob / total
    summed = torch.zeros_like(flat)
    for w in range(n - 1, 0, -1):
        left, right, pairs, factors = kept.pop()
        outside = (of_begins[:, : n - w, w] + of_ends[:, w:, n - 1 - w]).reshape(-1, k)
        summed.addmm_(outside.T, pairs)
        used = (outside @ flat).view(-1, k, k)
        shape = (n_sentences, n - w, w, k)
        of_begins[:, : n - w, :w] += torch.bmm(right, used.transpose(1, 2)).view(shape) * factors
        of_ends[:, w:, n - w :] += torch.bmm(left, used).view(shape)
    outside = of_begins[:, :, 0] + of_ends[:, :, n - 1]
    return Counts(
        starts.sum(0), (summed * flat).view(k, k, k), outside * begins[:, :, 0], log_likelihood
    )
