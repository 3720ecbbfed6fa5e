"""Deep models of sequences whose discrete latent variables are summed out exactly."""
