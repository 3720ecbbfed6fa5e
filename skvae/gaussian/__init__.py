"""Gaussian pieces shared by the mixtures and the chains: covariances, statistics, kernels."""
