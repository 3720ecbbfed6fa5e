"""skvae against its peers over grids of sizes from fifty rows on: no size should be slower."""

from benchmarks.grid import bayesian, chain, latency, mixture

SECTIONS = (
    *mixture.MAIN,
    *chain.MAIN,
    *bayesian.MAIN,
    *mixture.OTHERS,
    *chain.OTHERS,
    *bayesian.OTHERS,
    latency.SECTION,
)
