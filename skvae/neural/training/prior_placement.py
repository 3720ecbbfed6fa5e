"""Where the components of a mixture prior begin: at the clusters of the latents that there are."""

import copy

import torch

ENOUGH_ROWS = 2**14  # to find clusters among


@torch.no_grad()
def latent_moments(model, batches, n_rows):
    """Return the posterior means and variances of some rows, spread evenly over all.

    Parameters
    ----------
    model : LatentModel
        The model.
    batches : iterable of tensor or dict
        What ``encode`` is given, batch by batch.
    n_rows : int
        How many rows there are in all batches.

    Returns
    -------
    moments : ndarray of shape (2, n, L)
        Means and variances of at most `ENOUGH_ROWS` rows, float64.
    """
    step, first, parts = -(-n_rows // ENOUGH_ROWS), 0, []
    for given in batches:
        posterior = model.encode(**given) if isinstance(given, dict) else model.encode(given)
        moments = torch.stack([posterior.mean, posterior.variance])
        parts.append(moments[:, -first % step :: step].cpu().double())
        first += moments.shape[1]
    return torch.cat(parts, dim=1).numpy()


@torch.no_grad()
def place_components(prior, means, variances, *, seed, if_better):
    """Place the components of a mixture at clusters; return whether it was done.

    With fewer rows than components it is not.

    Parameters
    ----------
    prior : Mixture
        Changed in place.
    means, variances : ndarray of shape (n, L)
        Of the posteriors of n rows.
    seed : int
        Of k-means, in [0, 2**32).
    if_better : bool
        Whether the components stay where they are unless the new ones are more likely to have given
        the latents: E ln p(z) over draws of the posteriors.
    """
    if len(means) < len(prior.logits):
        return False
    if not if_better:
        prior.initialise(means, variances, seed=seed)
        return True
    trial = copy.deepcopy(prior)
    trial.initialise(means, variances, seed=seed)
    noise = torch.randn(means.shape, generator=torch.Generator().manual_seed(seed))
    z = torch.from_numpy(means) + torch.from_numpy(variances).sqrt() * noise
    z = z.to(prior.means)
    better = trial.density().log_prob(z).mean() > prior.density().log_prob(z).mean()
    if better:
        prior.load_state_dict(trial.state_dict())
    return bool(better)
