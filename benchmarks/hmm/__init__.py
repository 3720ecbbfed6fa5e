"""EMHiddenMarkov against hmmlearn's GaussianHMM and pomegranate's DenseHMM."""

from benchmarks.hmm import compilation, every_size, inference, iteration, memory, small

SECTIONS = (
    iteration.SECTION,
    small.SECTION,
    every_size.SECTION,
    inference.SECTION,
    memory.SECTION,
    compilation.SECTION,
)
