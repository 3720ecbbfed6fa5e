"""Deep models of sequences: transcription of lines of digits."""

from benchmarks.deep_chain import digit_lines

SECTIONS = (digit_lines.SECTION,)
