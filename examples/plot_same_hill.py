r"""
Do EM, variational Bayes and an autoencoder climb the same hill?
================================================================

Every model here is fitted by raising one number, the evidence lower bound

.. math:: \mathrm{ELBO}(q, \theta) = E_q[\ln p(z, x)] + H(q)
          = \ln p(x) - \mathrm{KL}(q(z) \,\|\, p(z \mid x)) .

What differs is the step. EM sets q to the exact posterior and then θ to its best value, in turn. A
variational autoencoder has a network for q, and moves it and θ together along the gradient.
Variational Bayes takes θ for one more random variable with a q of its own. If that is so, then all
of them must end on the same summit where there is but one, and it is known where that is.
"""

# %%
# One Gaussian: the summit in closed form
# ---------------------------------------
# 600 rows of four correlated features. The highest log-likelihood that any Gaussian can have is a
# formula in the covariance S of the rows, :math:`-\tfrac12 (D \ln 2\pi + \ln |S| + D)` a row.
#
# The three ways to it: :class:`skvae.EMGaussianMixture` with one component has nothing hidden, and
# is there in one step. :class:`skvae.VariationalAutoencoder` without hidden layers,
# with a shared σ, is probabilistic PCA; with one latent dimension less than there are features its
# covariance can be any matrix there is, so its summit is the same. The gradient gets there in many
# small steps. :class:`skvae.BayesianMixtureSVI` averages over θ, and its bound is on the
# probability of the rows without any θ. It is lower by what it takes to say θ.

import warnings
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning

from skvae import BayesianMixtureSVI, EMGaussianMixture, VariationalAutoencoder
from skvae.inspection import ElboDecompositionDisplay, elbo_decomposition

rng = np.random.default_rng(0)
n_rows, n_features = 600, 4
factors, loadings = rng.normal(size=(n_rows, 2)), rng.normal(size=(2, n_features))
X = factors @ loadings + 0.7 * rng.normal(size=(n_rows, n_features))
log_det = np.linalg.slogdet(np.cov(X.T, bias=True))[1]
summit = -0.5 * (n_features * np.log(2 * np.pi) + log_det + n_features)

em = EMGaussianMixture(1).fit(X)
bayes = BayesianMixtureSVI(1).fit(X)
vae = VariationalAutoencoder(
    n_features - 1,
    hidden_layer_sizes=(),
    likelihood_params={"scale": "shared"},
    batch_size=60,
    kl_warmup=0,
    early_stopping=False,
    warm_start=True,
    random_state=0,
)
epochs, autoencoders = (1, 2, 4, 8, 16, 32, 64, 128), []
for before, now in zip((0, *epochs), epochs, strict=False):
    vae.set_params(max_epochs=now - before, lr=2e-2 if now <= 32 else 1e-3)
    autoencoders.append(deepcopy(vae.fit(X)))
terms = elbo_decomposition(vae, X)
print(f"summit, by the formula     {summit:.5f} nats per row")
print(f"EM, one step               {em.lower_bound_:.5f}")
print(f"autoencoder, bound         {terms.elbo.mean():.5f}")
print(f"autoencoder, log-evidence  {terms.log_evidence.mean():.5f}")
print(f"variational Bayes, bound   {bayes.lower_bound_:.5f}")

# %%
# Two Gaussians: a hill with a path
# ---------------------------------
# With two components that overlap, the component of a row is hidden, and EM needs many iterations.
# Each fit below is one iteration further than the one before. The bound after an M step is that of
# the new θ with the old q: ``elbo_decomposition(after, X, posterior=before)``.

labels = rng.integers(2, size=n_rows)
X2 = 2.0 * (2 * labels[:, None] - 1) + rng.normal(size=(n_rows, 2))
start = {"means_init": [[-0.5, 1.0], [0.5, -1.0]], "weights_init": [0.5, 0.5]}
step = EMGaussianMixture(2, **start, warm_start=True, max_iter=0).fit(X2)
fits = [deepcopy(step)]
step.set_params(max_iter=1)
with warnings.catch_warnings():  # of course it has not converged
    warnings.simplefilter("ignore", ConvergenceWarning)
    fits += [deepcopy(step.fit(X2)) for _ in range(10)]
best = EMGaussianMixture(2, **start, tol=1e-15, max_iter=10_000).fit(X2)
print(f"\ntwo components, EM's maximum {best.lower_bound_:.5f} nats per row")

# %%
# EM is variational Bayes with a point for q(θ)
# ---------------------------------------------
# Let each row count as many: ``sample_weight``. The rows stay what they are, and so does what EM
# finds; but the Bayesian posterior of θ becomes as narrow as if there had been as many rows, and in
# the limit it is a point. Then its expected log-joint is the log-joint at that point, its
# responsibilities are EM's, and of its bound per row only EM's is left.

counts = 10.0 ** np.arange(7)
below, apart = [], []
for count in counts:
    mixture = BayesianMixtureSVI(
        2, learning_method="batch", random_state=0, tol=1e-15, max_iter=10_000
    ).fit(X2, sample_weight=np.full(n_rows, count))
    below.append(best.lower_bound_ - mixture.lower_bound_)
    same = np.argsort(mixture.means_[:, 0]), np.argsort(best.means_[:, 0])
    apart.append(np.abs(mixture.means_[same[0]] - best.means_[same[1]]).max())
    print(
        f"each row {count:7.0f} times: bound {below[-1]:.1e} nats per row below EM's maximum, "
        f"means {apart[-1]:.1e} from EM's"
    )

# %%
# The pictures
# ------------
# Left, the autoencoder's bound and log-evidence over the passes of its training, between them the
# gap that its encoder leaves. In the middle EM's halves, after its first iteration. Right, the
# limit.

figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), layout="constrained")
ElboDecompositionDisplay.from_iterations(autoencoders, X, iterations=epochs, ax=axes[0])
axes[0].axhline(summit, color="k", linestyle=":", label="summit, by the formula")
axes[0].plot(1, em.lower_bound_, "k^", markersize=8, label="EM, one step")
axes[0].axhline(bayes.lower_bound_, color="0.4", linestyle="-.", label="Bayes, bound")
axes[0].set(xscale="log", xlabel="pass over the rows", title="one Gaussian, three ways")
axes[0].legend(loc="lower right")
ElboDecompositionDisplay.from_iterations(fits[1:], X2, iterations=range(1, len(fits)), ax=axes[1])
axes[1].axhline(best.lower_bound_, color="k", linestyle=":", label="maximum")
axes[1].set_title("EM in halves")
axes[1].legend(loc="lower right")
axes[2].loglog(counts, below, "o-", color="#D55E00", label="bound below EM's maximum, nats per row")
axes[2].loglog(counts, apart, "s--", color="#0072B2", label="means from EM's")
axes[2].set(xlabel="how many times each row counts", title="q(θ) becomes a point")
axes[2].legend(loc="lower left", fontsize="small")
figure.savefig("same_hill.png", dpi=100)
print("\nThe figure is in same_hill.png")

# %%
# What they show
# --------------
# It is one hill. EM stands on the summit after its one step, and the autoencoder after 128 passes
# within 0.004 nats of it by its bound, 0.002 by its log-evidence. On the way the gap is what the
# encoder lags behind. The Bayesian bound ends 0.11 nats lower, and that is no failure to climb:
# without any θ the rows are less probable than with the best one, by what 14 parameters cost.
#
# In the middle no M step gains more for the bound than for the log-evidence, and each E step makes
# good the difference: the log-evidence cannot fall. On the right the cost of θ fades as rows count
# more, and EM is what is left: a tenth of the distance for ten times the weight, down to the
# tolerance of the two fits.
