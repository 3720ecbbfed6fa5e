"""Deep models of sequences: exact gradients, speech, autoencoders, units, lines of digits."""

from benchmarks.deep_chain import (
    autoencoder,
    autoregression,
    digit_lines,
    exact_gradient,
    japanese_vowels,
    units,
)

SECTIONS = (
    exact_gradient.SECTION,
    autoregression.SECTION,
    japanese_vowels.SECTION,
    autoencoder.SECTION,
    units.SECTION,
    digit_lines.SECTION,
)
