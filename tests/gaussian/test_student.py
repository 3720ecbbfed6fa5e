"""Functions of ν in Student-t log-densities; the densities are under test where they are used."""

import mpmath
import numpy as np

from skvae.gaussian.student import gamma_excess, log_gamma_ratio, log_minus_digamma


def test_functions_of_dofs_to_fifty_digits():
    points = [0.05, 0.5, 1.0, 7.3, 49.9, 50.1, 99.0, 101.0, 1e4, 5e5, 1e9, 1e14]
    with mpmath.workdps(50):
        for x in points:
            exact = float(mpmath.log(x) - mpmath.digamma(x))
            np.testing.assert_allclose(log_minus_digamma(x), exact, rtol=3e-13)
            excess = x * mpmath.digamma(x) - mpmath.loggamma(x) - x
            np.testing.assert_allclose(gamma_excess(x), float(excess), rtol=1e-12, atol=2e-13)
            for m in (0.0, 0.5, 1.0, 8.0, 64.0):
                ratio = mpmath.loggamma(mpmath.mpf(x) + m) - mpmath.loggamma(x)
                exact = float(ratio - m * mpmath.log(x))
                atol = 1e-12 if x < 50 else 2e-15 * m
                np.testing.assert_allclose(log_gamma_ratio(x, m), exact, rtol=1e-13, atol=atol)
