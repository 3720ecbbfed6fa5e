"""Deep models of sequences: gradients of exact sums, speech, autoencoders, lines of digits."""

from benchmarks.deep_chain import autoencoder, digit_lines, exact_gradient, japanese_vowels

SECTIONS = (
    exact_gradient.SECTION,
    japanese_vowels.SECTION,
    autoencoder.SECTION,
    digit_lines.SECTION,
)
