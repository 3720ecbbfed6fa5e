"""
Which regimes did a century of earthquakes have?
================================================

The number of major earthquakes in the world differs from year to year by more than a Poisson
distribution allows, and active years follow active years. :class:`skvae.EMHiddenMarkov` with
Poisson emissions divides the century into regimes, each with its own rate, and forecasts the next
years.
"""

# %%
# The data
# --------
# Earthquakes of magnitude 7 or more in each year from 1900 to 2006, as counted by the U.S.
# Geological Survey and printed in Zucchini & MacDonald, *Hidden Markov Models for Time Series*
# (2009), table 1.1. Rows have an index of dates, which the plots and the forecast use.

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from skvae import EMHiddenMarkov
from skvae.inspection import ForecastDisplay, StatePathDisplay

numbers = """
13 14  8 10 16 26 32 27 18 32 36 24 22 23 22 18 25 21 21 14  8 11 14 23 18 17 19 20 22 19 13 26 13
14 22 24 21 22 26 21 23 24 27 41 31 27 35 26 28 36 39 21 17 22 17 19 15 34 10 15 22 18 15 20 15 22
19 16 30 27 29 23 20 16 21 21 25 16 18 15 18 14 10 15  8 15  6 11  8  7 18 16 13 12 13 20 15 16 12
18 15 16 13 15 16 11 11
"""
years = pd.date_range("1900", periods=107, freq="YS", name="year")
counts = pd.DataFrame({"earthquakes": np.array(numbers.split(), dtype=float)}, index=years)
mean, variance = counts["earthquakes"].agg(["mean", "var"])
print(f"mean {mean:.2f}, variance {variance:.2f}: for a Poisson distribution they are equal")

# %%
# The number of regimes
# ---------------------
# The log-likelihood of one state is that of independent years. BIC prefers two states, AIC three.
# ICL adds the uncertainty of the path, and prefers states that are told apart by the data.

chains = {}
for n_states in (1, 2, 3, 4):
    chain = EMHiddenMarkov(n_states, emission="poisson", n_init=10, tol=1e-6, random_state=0)
    chains[n_states] = chain.set_params(max_iter=1000).fit(counts)
    total = chain.score(counts) * len(counts)
    bic, aic, icl = chain.bic(counts), chain.aic(counts), chain.icl(counts)
    print(f"{n_states} states: {total:.2f} nats, BIC {bic:.1f}, AIC {aic:.1f}, ICL {icl:.1f}")

# %%
# The regimes
# -----------
# EM gives the states no order: ``relabel`` puts them in the order of their rates. The stationary
# distribution is the share of years that a long series spends in each regime, and
# 1 / (1 − probability of staying) is the mean length of a stay.

chain = chains[3]
chain = chain.relabel(np.argsort(chain.emission_.rates_[:, 0]))
share, stay = chain.stationary_distribution(), 1 / (1 - chain.transmat_.diagonal())
for k, rate in enumerate(chain.emission_.rates_[:, 0]):
    print(f"regime {k}: {rate:.1f} a year, {share[k]:.0%} of the years, stays of {stay[k]:.0f}")

display = StatePathDisplay.from_estimator(chain, counts)
display.ax_.set_title("Major earthquakes a year, and their regime")

# %%
# The next years
# --------------
# The index goes on: the steps are the years 2007 to 2026. The intervals are quantiles of the exact
# mixture of the three Poisson distributions. They widen as the chain forgets its present regime. In
# the quiet regime of 2006 the first interval is narrow; after some twenty years it is that of the
# stationary distribution.

forecast = chain.forecast(counts, n_steps=20)
lower, upper = forecast.interval(0.9)
table = pd.DataFrame(
    {"lower": lower[:, 0], "median": forecast.quantile(0.5)[:, 0], "upper": upper[:, 0]},
    index=forecast.index,
)
print(table.iloc[[0, 1, 4, 19]])

display = ForecastDisplay.from_forecast(forecast, counts, n_history=40)
display.ax_.set_title("Forecast of the number of earthquakes")
plt.show()
