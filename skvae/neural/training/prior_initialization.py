"""Initialization of a mixture prior: its components start at clusters of the latent vectors."""

import copy

import torch

ENOUGH_ROWS = 2**14  # to find clusters among


@torch.no_grad()
def latent_moments(encode, batches, n_rows):
    """Return the posterior means and variances of some rows, spread evenly over all rows.

    Parameters
    ----------
    encode : callable
        Takes the tensor or, as keywords, the dict of a batch; returns the posteriors of its rows.
    batches : iterable of tensor or dict
        The inputs of the bound module, batch by batch.
    n_rows : int
        The number of rows in all batches.

    Returns
    -------
    means, variances : ndarray of shape (n, L)
        Of at most `ENOUGH_ROWS` rows, float64.
    weights : ndarray of shape (n,) or None
        The rows' weights, if batches have them.
    """
    step, first, parts = -(-n_rows // ENOUGH_ROWS), 0, []
    for batch in batches:
        posterior = encode(**batch) if isinstance(batch, dict) else encode(batch)
        found = [posterior.mean, posterior.variance]
        if isinstance(batch, dict) and "weight" in batch:
            found.append(batch["weight"])
        parts.append([part[-first % step :: step].cpu().double() for part in found])
        first += len(posterior.mean)
    means, variances, *weights = (torch.cat(part).numpy() for part in zip(*parts, strict=True))
    return means, variances, weights[0] if weights else None


@torch.no_grad()
def initialize_components(prior, means, variances, weights=None, *, seed, if_better):
    """Set the components of a mixture prior to clusters of latent vectors, found by k-means.

    Nothing changes if there are fewer rows than components.

    Parameters
    ----------
    prior : Mixture
        Changed in place.
    means, variances : ndarray of shape (n, L)
        Means and variances of the posteriors of n rows.
    weights : ndarray of shape (n,), default=None
        The rows' weights.
    seed : int
        Seed of k-means, in [0, 2**32).
    if_better : bool
        Whether the components change only if that raises E ln p(z) over draws of the posteriors.

    Returns
    -------
    changed : bool
        Whether the components changed.
    """
    if len(means) < len(prior.logits):
        return False
    if not if_better:
        prior.initialize(means, variances, weights, seed=seed)
        return True
    trial = copy.deepcopy(prior)
    trial.initialize(means, variances, weights, seed=seed)
    noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed))
    z = torch.from_numpy(means) + torch.from_numpy(variances).sqrt() * noise
    z = z.to(prior.means)
    gain = trial.density().log_prob(z) - prior.density().log_prob(z)
    better = (gain if weights is None else gain * torch.from_numpy(weights).to(gain)).mean() > 0
    if better:
        prior.load_state_dict(trial.state_dict())
    return bool(better)
