"""Deep models of sequences: gradients of exact sums, speech, transcription of lines of digits."""

from benchmarks.deep_chain import digit_lines, exact_gradient, japanese_vowels

SECTIONS = (exact_gradient.SECTION, japanese_vowels.SECTION, digit_lines.SECTION)
