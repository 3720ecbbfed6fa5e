"""Neural parts of models: networks, likelihoods, priors, posteriors, and training by skorch."""
