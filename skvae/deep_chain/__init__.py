"""Deep models of sequences whose discrete latent variables are summed out exactly."""

from skvae.deep_chain.ctc_transcriber import CTCTranscriber
from skvae.deep_chain.eg_hidden_markov import EGHiddenMarkov
from skvae.deep_chain.hidden_markov_autoencoder import HiddenMarkovAutoencoder

__all__ = ["CTCTranscriber", "EGHiddenMarkov", "HiddenMarkovAutoencoder"]
