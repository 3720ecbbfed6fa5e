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
    moments : ndarray of shape (2, n, L)
        Means and variances of at most `ENOUGH_ROWS` rows, float64.
    """
    step, first, parts = -(-n_rows // ENOUGH_ROWS), 0, []
    for batch in batches:
        posterior = encode(**batch) if isinstance(batch, dict) else encode(batch)
        moments = torch.stack([posterior.mean, posterior.variance])
        parts.append(moments[:, -first % step :: step].cpu().double())
        first += moments.shape[1]
    return torch.cat(parts, dim=1).numpy()


@torch.no_grad()
def initialize_components(prior, means, variances, *, seed, if_better):
    """Set the components of a mixture prior to clusters of latent vectors, found by k-means.

    Nothing changes if there are fewer rows than components.

    Parameters
    ----------
    prior : Mixture
        Changed in place.
    means, variances : ndarray of shape (n, L)
        Means and variances of the posteriors of n rows.
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
        prior.initialize(means, variances, seed=seed)
        return True
    trial = copy.deepcopy(prior)
    trial.initialize(means, variances, seed=seed)
    noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed))
    z = torch.from_numpy(means) + torch.from_numpy(variances).sqrt() * noise
    z = z.to(prior.means)
    better = trial.density().log_prob(z).mean() > prior.density().log_prob(z).mean()
    if better:
        prior.load_state_dict(trial.state_dict())
    return bool(better)
