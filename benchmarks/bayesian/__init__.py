"""BayesianMixtureSVI against scikit-learn's BayesianGaussianMixture."""

from benchmarks.bayesian import choice, coverage, evidence, online, small_data, time_to_score

SECTIONS = (
    time_to_score.SECTION,
    online.SECTION,
    small_data.SECTION,
    choice.SECTION,
    coverage.SECTION,
    evidence.SECTION,
)
