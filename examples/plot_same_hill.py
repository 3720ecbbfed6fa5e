r"""
Do EM, variational Bayes and an autoencoder ascend the same objective?
======================================================================

Every model here is fitted by ascending one number, the evidence lower bound

.. math:: \mathrm{ELBO}(q, \theta) = E_q[\ln p(z, x)] + H(q)
          = \ln p(x) - \mathrm{KL}(q(z) \,\|\, p(z \mid x)) .

The steps are different. EM sets q to the exact posterior and then θ to its optimum, in turn. A
variational autoencoder has a network for q, and changes the network and θ together along the
gradient. Variational Bayes treats θ as another random variable with its own q. So all of them must
reach the same maximum if there is only one, and here it is known.
"""

# %%
# One Gaussian: the maximum in closed form
# ----------------------------------------
# 600 rows of four correlated features. The highest log-likelihood that any Gaussian can have is a
# formula in the covariance S of the rows, :math:`-\tfrac12 (D \ln 2\pi + \ln |S| + D)` a row.
#
# The three methods: :class:`skvae.EMGaussianMixture` with one component has no hidden variable, and
# needs one step. :class:`skvae.VariationalAutoencoder` with linear networks and a shared σ is
# probabilistic PCA; with one latent dimension less than the number of features its covariance can
# be any matrix, so its maximum is the same. The built-in linear networks begin at this maximum,
# those given here at random weights, and the gradient needs many small steps.
# :class:`skvae.BayesianMixtureSVI` averages over θ, and its bound is a bound on the probability of
# the rows with θ integrated out. It is lower by the cost of the uncertainty of θ.

# sphinx_gallery_thumbnail_number = 2
import warnings
from copy import deepcopy

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from torch import manual_seed, nn

from skvae import BayesianMixtureSVI, EMGaussianMixture, VariationalAutoencoder
from skvae.inspection import ElboDecompositionDisplay, elbo_decomposition

rng = np.random.default_rng(0)
n_rows, n_features = 600, 4
factors, loadings = rng.normal(size=(n_rows, 2)), rng.normal(size=(2, n_features))
X = factors @ loadings + 0.7 * rng.normal(size=(n_rows, n_features))
log_det = np.linalg.slogdet(np.cov(X.T, bias=True))[1]
maximum = -0.5 * (n_features * np.log(2 * np.pi) + log_det + n_features)

em = EMGaussianMixture(1).fit(X)
bayes = BayesianMixtureSVI(1).fit(X)
manual_seed(0)  # for the weights of the networks
vae = VariationalAutoencoder(
    n_features - 1,
    encoder=nn.Linear(n_features, 2 * (n_features - 1)),
    decoder=nn.Linear(n_features - 1, n_features),
    likelihood_params={"scale": "shared"},
    batch_size=60,
    kl_warmup=0,
    early_stopping=False,
    warm_start=True,
    random_state=0,
)
epochs, autoencoders = (1, 2, 4, 8, 16, 32, 64, 128, 256), []
for before, now in zip((0, *epochs), epochs, strict=False):
    vae.set_params(max_epochs=now - before, lr=3e-2 if now <= 64 else 1e-2 if now <= 128 else 1e-3)
    autoencoders.append(deepcopy(vae.fit(X)))
terms = elbo_decomposition(vae, X)
print(f"maximum, by the formula    {maximum:.5f} nats per row")
print(f"EM, one step               {em.lower_bound_:.5f}")
print(f"autoencoder, bound         {terms.elbo.mean():.5f}")
print(f"autoencoder, log-evidence  {terms.log_evidence.mean():.5f}")
print(f"variational Bayes, bound   {bayes.lower_bound_:.5f}")

# %%
# The bound and the log-evidence of the autoencoder over the passes of its training, and between
# them the gap due to its encoder:

ElboDecompositionDisplay.from_iterations(autoencoders, X, iterations=epochs)
plt.axhline(maximum, color="k", linestyle=":", label="maximum, by the formula")
plt.plot(1, em.lower_bound_, "k^", markersize=8, label="EM, one step")
plt.axhline(bayes.lower_bound_, color="0.4", linestyle="-.", label="Bayes, bound")
plt.gca().set(xscale="log", xlabel="pass over the rows", title="One Gaussian, three methods")
plt.legend(loc="lower right")

# %%
# Two Gaussians: many iterations
# ------------------------------
# With two components that overlap, the component of a row is hidden, and EM needs many iterations.
# Each fit below is one iteration after the one before. The bound after an M step is that of the new
# θ with the old q: ``elbo_decomposition(after, X, posterior=before)``.

labels = rng.integers(2, size=n_rows)
X2 = 2.0 * (2 * labels[:, None] - 1) + rng.normal(size=(n_rows, 2))
start = {"means_init": [[-0.5, 1.0], [0.5, -1.0]], "weights_init": [0.5, 0.5]}
step = EMGaussianMixture(2, **start, warm_start=True, max_iter=0).fit(X2)
fits = [deepcopy(step)]
step.set_params(max_iter=1)
with warnings.catch_warnings():  # it has not converged, on purpose
    warnings.simplefilter("ignore", ConvergenceWarning)
    fits += [deepcopy(step.fit(X2)) for _ in range(10)]
best = EMGaussianMixture(2, **start, tol=1e-15, max_iter=10_000).fit(X2)
print(f"two components, EM's maximum {best.lower_bound_:.5f} nats per row")

# %%
# The half steps of EM, after its first iteration:

ElboDecompositionDisplay.from_iterations(fits[1:], X2, iterations=range(1, len(fits)))
plt.axhline(best.lower_bound_, color="k", linestyle=":", label="maximum")
plt.title("Two Gaussians: E and M steps")
plt.legend(loc="lower right")

# %%
# EM is variational Bayes with a point for q(θ)
# ---------------------------------------------
# Give each row a large weight, by ``sample_weight``. The rows and the result of EM do not change;
# but the Bayesian posterior of θ becomes as narrow as with so many rows, and in the limit it is a
# point. Then its expected log-joint is the log-joint at that point, its responsibilities are those
# of EM, and its bound per row is that of EM.

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

_, ax = plt.subplots(figsize=(5.5, 3.8), layout="constrained")
ax.loglog(counts, below, "o-", color="#D55E00", label="bound below EM's maximum, nats per row")
ax.loglog(counts, apart, "s--", color="#0072B2", label="means from EM's")
ax.set(xlabel="weight of each row", title="q(θ) becomes a point")
ax.legend(loc="lower left")
plt.show()

# %%
# Result
# ------
# They do. EM is at the maximum after one step, and the autoencoder after 256 passes is within 0.004
# nats of it by its bound, 0.002 by its log-evidence. During training the gap is the lag of the
# encoder. The Bayesian bound ends 0.11 nats lower, which is not an error: with θ integrated out the
# rows are less probable than with the best θ, by the cost of 14 parameters.
#
# No M step of EM raises the bound by more than the log-evidence, and each E step closes the gap:
# the log-evidence cannot fall. The cost of θ vanishes as the weight of the rows grows, and the
# result is that of EM: a tenth of the distance for ten times the weight, down to the
# tolerance of the two fits.
