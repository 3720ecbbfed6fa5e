"""The terms of the bound stacked up to the log-evidence, and the gap over iterations."""

import numpy as np

from skvae.inspection.decomposition.decomposition import elbo_decomposition
from skvae.inspection.display import COLORS, INK, AxesDisplay

_WIDTH = 0.26  # of a bar; a model has three side by side


class ElboDecompositionDisplay(AxesDisplay):
    """Plot of both sides of ELBO = E_q ln p(z, x) + H(q) = ln p(x) − KL, in means over rows.

    Make it with :meth:`from_estimator` or :meth:`from_estimators`: from the dotted line, the
    expected log-joint, the entropy of the posterior leads to the bound, and the gap from there to
    the solid line, the log-evidence. An exact posterior leaves no gap. Or with
    :meth:`from_iterations`: the bound and the log-evidence over a fit, with the gap between them
    shaded. An M step of EM raises both, the log-evidence more; the E step closes the gap.

    Parameters
    ----------
    expected_joint : array-like of shape (n_models,)
        E_q ln p(z, x) of each model or step, nats per row.
    entropy : array-like of shape (n_models,)
        H(q), nats per row.
    log_evidence : array-like of shape (n_models,)
        The log-density ln p(x), nats per row.
    global_kl : array-like of shape (n_models,), default=None
        The divergence of the parameters from their prior, nats per row; by default zero.
    names : sequence of str, default=None
        The models; by default they have none.
    iterations : array-like of shape (n_models,), default=None
        The iteration of each step in a fit: then lines are drawn over the iterations, and halves
        are M steps. By default bars are drawn, for each model by itself.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    bars_ : dict of str to matplotlib.container.BarContainer
        ``"entropy"``, ``"gap"`` and, where there is one, ``"global_kl"``; empty over iterations.
    lines_ : dict of str to matplotlib.lines.Line2D or matplotlib.collections.LineCollection
        ``"log_evidence"``, and ``"elbo"`` over iterations, ``"expected_joint"`` elsewhere.
    gap_area_ : matplotlib.collections.PolyCollection or None
        The shaded gap over iterations.

    See Also
    --------
    elbo_decomposition : The numbers, row by row.
    BoundTraceDisplay : The bound that a fit recorded.

    Examples
    --------
    >>> from skvae.inspection import ElboDecompositionDisplay
    >>> display = ElboDecompositionDisplay([-3.0], [0.5], [-2.25], names=["a"]).plot()
    >>> [float(bar.get_height()) for bar in display.bars_["gap"]]
    [0.25]
    """

    def __init__(
        self,
        expected_joint,
        entropy,
        log_evidence,
        *,
        global_kl=None,
        names=None,
        iterations=None,
    ):
        self.expected_joint = np.asarray(expected_joint, dtype=float)
        self.entropy = np.asarray(entropy, dtype=float)
        self.log_evidence = np.asarray(log_evidence, dtype=float)
        zero = np.zeros_like(self.entropy)
        self.global_kl = zero if global_kl is None else np.asarray(global_kl, dtype=float)
        self.names = [""] * len(zero) if names is None else list(names)
        self.iterations = None if iterations is None else np.asarray(iterations, dtype=float)

    @property
    def elbo(self):
        """The bound, ``expected_joint + entropy``."""
        return self.expected_joint + self.entropy

    # Made from models ---------------------------------------------------------------------------

    @classmethod
    def from_estimator(cls, estimator, X, *, groups=None, name=None, ax=None):
        """Return the plotted terms of one fitted estimator.

        Parameters
        ----------
        estimator : estimator
            Fitted, as :func:`elbo_decomposition` takes it.
        X : {array-like, DataFrame} of shape (n_samples, n_features), or list of such
            Rows, over which the terms are averaged.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for a chain.
        name : str, default=None
            The label; by default the name of the estimator's class.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : ElboDecompositionDisplay
            The display, drawn.

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            As :func:`elbo_decomposition` does.

        Examples
        --------
        >>> from skvae import EMGaussianMixture
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import ElboDecompositionDisplay
        >>> X = load_geyser().data
        >>> mixture = EMGaussianMixture(2, random_state=0).fit(X)
        >>> display = ElboDecompositionDisplay.from_estimator(mixture, X)
        >>> round(float(display.log_evidence[0] - mixture.score(X)), 9)
        0.0
        """
        name = type(estimator).__name__ if name is None else name
        return cls.from_estimators({name: estimator}, X, groups=groups, ax=ax)

    @classmethod
    def from_estimators(cls, estimators, X, *, groups=None, ax=None):
        """Return the plotted terms of several fitted estimators, side by side.

        Parameters
        ----------
        estimators : dict of str to estimator
            Fitted, by the names to draw.
        X : {array-like, DataFrame} of shape (n_samples, n_features), or list of such
            Rows, the same for all.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for chains.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : ElboDecompositionDisplay
            The display, drawn.

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            As :func:`elbo_decomposition` does.

        Examples
        --------
        >>> from skvae import BayesianMixtureSVI, EMGaussianMixture
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import ElboDecompositionDisplay
        >>> X = load_geyser().data
        >>> models = {
        ...     "EM": EMGaussianMixture(2, random_state=0).fit(X),
        ...     "Bayes": BayesianMixtureSVI(2, random_state=0).fit(X),
        ... }
        >>> display = ElboDecompositionDisplay.from_estimators(models, X)
        >>> list(display.bars_)
        ['entropy', 'gap', 'global_kl']
        """
        terms = [_means(elbo_decomposition(e, X, groups=groups)) for e in estimators.values()]
        expected_joint, entropy, log_evidence, global_kl = np.transpose(terms)
        names = list(estimators)
        display = cls(expected_joint, entropy, log_evidence, global_kl=global_kl, names=names)
        return display.plot(ax)

    @classmethod
    def from_iterations(cls, estimators, X, *, groups=None, iterations=None, ax=None):
        """Return the plotted bound and log-evidence over the iterations of a fit.

        For EM each iteration has two halves. The bound after the M step is that of the posterior of
        the model before it, and has a gap; after the E step, with the model's own posterior, there
        is none. Other models are evaluated with their own posterior only.

        Parameters
        ----------
        estimators : sequence of estimators
            Fitted, the same model after more and more iterations: with ``max_iter`` 0, 1, 2, …, or
            copies between fits with ``warm_start``, as below. For EM no iteration may be left out.
        X : {array-like, DataFrame} of shape (n_samples, n_features), or list of such
            Rows: those of the fit, if the bound is to rise.
        groups : array-like of shape (n_samples,), default=None
            The sequence of each row, for chains.
        iterations : array-like of shape (n_estimators,), default=None
            The number of iterations of each; by default 0, 1, 2, ….
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : ElboDecompositionDisplay
            The display, drawn.

        Raises
        ------
        TypeError, ValueError, sklearn.exceptions.NotFittedError
            As :func:`elbo_decomposition` does.

        Examples
        --------
        >>> from copy import deepcopy
        >>> import warnings
        >>> from sklearn.exceptions import ConvergenceWarning
        >>> from skvae import EMGaussianMixture
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import ElboDecompositionDisplay
        >>> X = load_geyser().data
        >>> mixture = EMGaussianMixture(2, warm_start=True, max_iter=0, random_state=0)
        >>> fits = [deepcopy(mixture.fit(X))]
        >>> mixture = mixture.set_params(max_iter=1)  # each further fit is one iteration
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore", ConvergenceWarning)
        ...     fits += [deepcopy(mixture.fit(X)) for _ in range(2)]
        >>> display = ElboDecompositionDisplay.from_iterations(fits, X)
        >>> display.iterations
        array([0. , 0.5, 1. , 1.5, 2. ])
        """
        estimators = list(estimators)
        iterations = np.arange(len(estimators)) if iterations is None else np.asarray(iterations)
        terms, places, before = [], [], None
        for place, estimator in zip(iterations, estimators, strict=True):
            own = _means(elbo_decomposition(estimator, X, groups=groups))
            if before is not None and _is_em(estimator):
                m_step = elbo_decomposition(estimator, X, groups=groups, posterior=before)
                terms.append(_means(m_step))
                places.append(0.5 * (place + places[-1]))
            terms.append(own)
            places.append(place)
            before = estimator
        expected_joint, entropy, log_evidence, global_kl = np.transpose(terms)
        display = cls(expected_joint, entropy, log_evidence, global_kl=global_kl, iterations=places)
        return display.plot(ax)

    # Drawn --------------------------------------------------------------------------------------

    def plot(self, ax=None):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : ElboDecompositionDisplay
            Itself.

        Examples
        --------
        >>> from skvae.inspection import ElboDecompositionDisplay
        >>> steps = [-3.0, -2.8, -2.7], [0.5, 0.5, 0.6], [-2.5, -2.1, -2.1]
        >>> display = ElboDecompositionDisplay(*steps, iterations=[0, 0.5, 1]).plot()
        >>> display.lines_["elbo"].get_ydata()
        array([-2.5, -2.3, -2.1])
        """
        ax = self._set_axes(ax)
        self.bars_, self.lines_, self.gap_area_ = {}, {}, None
        if self.iterations is None:
            self._plot_terms(ax)
        else:
            self._plot_iterations(ax)
        ax.set_ylabel("nats per row")
        ax.spines[["top", "right"]].set_visible(False)
        return self

    def _plot_terms(self, ax):
        """Draw a bar for each term of each model, from the end of the bar before it.

        Their heights are written below them.
        """
        x, elbo = np.arange(len(self.elbo)), self.elbo
        terms = {
            "entropy": ("entropy H(q)", self.expected_joint, self.entropy),
            "gap": ("gap KL(q ‖ p(z | x))", elbo, self.log_evidence - elbo),
        }
        if self.global_kl.any():
            terms["global_kl"] = ("KL(q(θ) ‖ p(θ)) / n", elbo - self.global_kl, self.global_kl)
        lowest = np.fmin(self.expected_joint, elbo - self.global_kl)
        colors, hatches = (COLORS[0], COLORS[1], "#777777"), ("//", "..", "")
        first = -0.5 * (len(terms) - 1)
        for i, (name, (label, bottom, height)) in enumerate(terms.items()):
            style = {"color": colors[i] + "55", "edgecolor": colors[i], "hatch": hatches[i]}
            middle = x + (first + i) * _WIDTH
            self.bars_[name] = ax.bar(middle, height, _WIDTH, bottom, label=label, **style)
            for place, end, value in zip(middle, lowest, height, strict=True):
                note = f"{round(value, 2) + 0.0:.2f}"  # 0.0 takes the sign from −0.00
                below = {"xytext": (0, -3), "textcoords": "offset points", "va": "top"}
                ax.annotate(note, (place, end), ha="center", fontsize="small", **below)
        half = 0.5 * len(terms) * _WIDTH
        levels = (("log_evidence", "ln p(x)", "-"), ("expected_joint", "E ln p(z, x)", ":"))
        for name, label, style in levels:
            self.lines_[name] = ax.hlines(
                getattr(self, name), x - half, x + half, color=INK, linestyle=style, label=label
            )
        ax.set_xticks(x, self.names)
        ax.set_xlim(-0.75, len(x) - 0.25)
        ax.use_sticky_edges = False  # bars do not begin at zero
        ax.margins(y=0.12)
        ax.legend(frameon=False, loc="upper left", bbox_to_anchor=(1.0, 1.0))

    def _plot_iterations(self, ax):
        """Draw the bound and the log-evidence over iterations, and the gap between them."""
        x = self.iterations
        self.gap_area_ = ax.fill_between(
            x, self.elbo, self.log_evidence, color=COLORS[1], alpha=0.25, linewidth=0, label="gap"
        )
        styles = {
            "log_evidence": ("ln p(x)", self.log_evidence, {"color": COLORS[0]}),
            "elbo": ("bound", self.elbo, {"color": COLORS[1], "linestyle": "--", "marker": "o"}),
        }
        for name, (label, values, style) in styles.items():
            (self.lines_[name],) = ax.plot(x, values, label=label, markersize=3, **style)
        ax.set_xlabel("iteration")
        ax.xaxis.get_major_locator().set_params(integer=True)
        ax.legend(frameon=False, loc="lower right")


def _means(decomposition):
    """Return the means over rows of the expected log-joint, entropy, evidence, and global KL."""
    fields = decomposition.expected_joint, decomposition.entropy, decomposition.log_evidence
    rows = [np.concatenate(f) if isinstance(f, list) else f for f in fields]
    return [*(float(each.mean()) for each in rows), decomposition.global_kl / len(rows[0])]


def _is_em(estimator):
    """Return whether the fit is EM, with a gap between the M step and the next E step."""
    exact = hasattr(estimator, "weights_") or hasattr(estimator, "emission_")
    return exact and not hasattr(estimator, "elbo_")
