"""Posterior, prior, steps and moves of the Bayesian mixture."""
