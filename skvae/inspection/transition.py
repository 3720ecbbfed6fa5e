"""The transitions between the states of a chain."""

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skvae.inspection.display import INK, AxesDisplay, probability_text

_KINDS = ("matrix", "graph")
_MAX_VALUES = 15  # the most states of a matrix with numbers in it
_MAX_LABELS = 5  # the most states of a graph with numbers at its arrows
_WIDEST = 0.45  # of the arrow of probability 1, in radii of a state's circle


class TransitionDisplay(AxesDisplay):
    """Plot of transition probabilities, as a matrix or as a graph.

    Make it with :meth:`from_estimator`. The matrix has a row for each state and a column for each
    that may follow it. In the graph the states are circles and the width of an arrow is its
    probability; it has the colour of the state it leaves. A transition of probability zero has no
    entry and no arrow.

    Parameters
    ----------
    transmat : array-like of shape (n_states, n_states)
        Transition probabilities from row to column.
    state_names : sequence of str, default=None
        Names of the states; by default their numbers.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Where it is drawn.
    figure_ : matplotlib.figure.Figure
        The figure of `ax_`.
    image_ : matplotlib.image.AxesImage or None
        The matrix, zeros masked.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        The scale of a matrix without numbers in it.
    circles_ : list of matplotlib.patches.Circle
        The circles of the graph, one for each state.
    arrows_ : dict of (int, int) to matplotlib.patches.Polygon
        The arrows of the graph, by their first and last states.
    texts_ : dict of (int, int) to matplotlib.text.Text
        The probabilities that are written, by the same; of a matrix of more than 15 states, or a
        graph of more than 5, there are none.

    See Also
    --------
    StatePathDisplay : The state of each row.

    Examples
    --------
    >>> from skvae.inspection import TransitionDisplay
    >>> display = TransitionDisplay([[0.9, 0.1], [0.0, 1.0]]).plot(kind="graph")
    >>> sorted(display.arrows_)
    [(0, 0), (0, 1), (1, 1)]
    """

    def __init__(self, transmat, *, state_names=None):
        self.transmat = np.asarray(transmat, dtype=float)
        names = map(str, range(len(self.transmat))) if state_names is None else state_names
        self.state_names = list(names)

    @classmethod
    def from_estimator(
        cls, estimator, *, kind="matrix", state_names=None, min_probability=0.01, ax=None
    ):
        """Return the plotted transitions of a fitted hidden Markov model.

        Parameters
        ----------
        estimator : estimator
            Fitted, with ``transmat_``.
        kind : {"matrix", "graph"}, default="matrix"
            The kind of picture.
        state_names : sequence of str, default=None
            Names of the states; by default their numbers.
        min_probability : float, default=0.01
            As in :meth:`plot`.
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.

        Returns
        -------
        display : TransitionDisplay
            The display, drawn.

        Raises
        ------
        ValueError
            As :meth:`plot` does.
        sklearn.exceptions.NotFittedError
            If the estimator has no ``transmat_``.

        Examples
        --------
        >>> from skvae import EMHiddenMarkov
        >>> from skvae.datasets import load_geyser
        >>> from skvae.inspection import TransitionDisplay
        >>> chain = EMHiddenMarkov(2, random_state=0).fit(load_geyser().data)
        >>> display = TransitionDisplay.from_estimator(chain)
        >>> display.image_.get_array().shape
        (2, 2)
        """
        check_is_fitted(estimator, "transmat_")
        display = cls(estimator.transmat_, state_names=state_names)
        return display.plot(ax, kind=kind, min_probability=min_probability)

    def plot(self, ax=None, *, kind="matrix", min_probability=0.01):
        """Return the display, drawn.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; by default a new figure.
        kind : {"matrix", "graph"}, default="matrix"
            The kind of picture.
        min_probability : float, default=0.01
            The graph leaves out less probable transitions.

        Returns
        -------
        display : TransitionDisplay
            Itself.

        Raises
        ------
        ValueError
            If `kind` is neither, or there are not as many `state_names` as states.

        Examples
        --------
        >>> from skvae.inspection import TransitionDisplay
        >>> display = TransitionDisplay([[0.9, 0.1], [0.0, 1.0]]).plot()
        >>> {pair: text.get_text() for pair, text in display.texts_.items()}
        {(0, 0): '0.90', (0, 1): '0.10', (1, 1): '1.00'}
        """
        n_states = len(self.transmat)
        if kind not in _KINDS:
            raise ValueError(f"kind={kind!r} must be one of {_KINDS}.")
        if len(self.state_names) != n_states:
            raise ValueError(f"state_names={self.state_names!r} must be {n_states}, one a state.")
        self.image_ = self.colorbar_ = None
        self.circles_, self.arrows_, self.texts_ = [], {}, {}
        if kind == "matrix":
            side = float(np.clip(1.6 + 0.42 * n_states, 2.8, 7.0))
            self._draw_matrix(self._set_axes(ax, figsize=(side, side)))
        else:
            self._draw_graph(self._set_axes(ax, figsize=(4.8, 4.8)), min_probability)
        return self

    def _draw_matrix(self, ax):
        n_states = len(self.transmat)
        possible = np.ma.masked_equal(self.transmat, 0.0)
        written = n_states <= _MAX_VALUES
        largest = 1.0 if written else self.transmat.max()
        self.image_ = ax.imshow(possible, cmap="Blues", vmin=0, vmax=largest)
        if written:
            for pair in np.argwhere(self.transmat > 0):
                source, target = map(int, pair)
                value = self.transmat[source, target]
                color = "white" if value > 0.5 else INK
                style = {"ha": "center", "va": "center", "color": color, "fontsize": 9}
                self.texts_[source, target] = ax.text(
                    target, source, probability_text(value), **style
                )
            ax.set_xticks(range(n_states), self.state_names)
            ax.set_yticks(range(n_states), self.state_names)
        else:
            self.colorbar_ = self.figure_.colorbar(self.image_, ax=ax, shrink=0.8)
            self.colorbar_.set_label("probability")
            for axis in (ax.xaxis, ax.yaxis):
                axis.get_major_locator().set_params(integer=True)
        ax.set(xlabel="to state", ylabel="from state")
        ax.xaxis.set_label_position("top")
        ax.xaxis.tick_top()
        ax.tick_params(length=0)
        ax.spines[:].set_color("#BBBBBB")

    def _draw_graph(self, ax, min_probability):
        from matplotlib.patches import Circle, Polygon

        centres, radius = _layout(len(self.transmat))
        colors = self._state_colors(len(centres))
        shown = (self.transmat > 0) & (self.transmat >= min_probability)
        for source, target in np.argwhere(shown).tolist():
            probability = self.transmat[source, target]
            line = _course(centres, radius, source, target)
            arrow = Polygon(
                _arrow(line, _WIDEST * radius * probability, radius),
                facecolor=colors[source],
                edgecolor=colors[source],
                linewidth=0.6,  # so that the least probable one is visible
                zorder=1,
            )
            self.arrows_[source, target] = ax.add_patch(arrow)
            if len(centres) <= _MAX_LABELS:
                place = line[len(line) // 2 if source == target else len(line) * 3 // 10]
                box = {"facecolor": "white", "edgecolor": "none", "pad": 0.8, "alpha": 0.85}
                style = {"ha": "center", "va": "center", "fontsize": 8, "color": INK, "bbox": box}
                self.texts_[source, target] = ax.text(
                    *place, probability_text(probability), **style
                )
        for centre, color, name in zip(centres, colors, self.state_names, strict=True):
            circle = Circle(centre, radius, facecolor=color, edgecolor="white", zorder=2)
            self.circles_.append(ax.add_patch(circle))
            dark = color[:3] @ (0.299, 0.587, 0.114) < 0.6
            long = max(map(len, str(name).splitlines()), default=0) > 3
            style = {"ha": "center", "va": "center", "zorder": 3, "fontsize": 7 if long else 10}
            ax.text(*centre, name, color="white" if dark else INK, **style)
        reach = np.ptp(centres, axis=0) / 2 + 2.9 * radius
        middle = (centres.max(axis=0) + centres.min(axis=0)) / 2
        ax.set_xlim(middle[0] - reach[0], middle[0] + reach[0])
        ax.set_ylim(middle[1] - reach[1], middle[1] + reach[1])
        ax.set_aspect("equal")
        ax.axis("off")


def _layout(n_states):
    """Return the centres of the states, clockwise from the top, and the radius of their circles."""
    if n_states == 1:
        return np.zeros((1, 2)), 0.3
    turns = 2 * np.pi * np.arange(n_states) / n_states
    if n_states == 2:
        turns -= np.pi / 2  # side by side
    centres = np.column_stack([np.sin(turns), np.cos(turns)])
    return centres, min(0.34, 0.5 * np.sin(np.pi / n_states))


def _course(centres, radius, source, target, n_points=200):
    """Return points along the middle of an arrow, from the edge of one circle to that of another.

    A state that follows itself has a loop that leads away from the middle of the graph. Others are
    bent to the left by 0.4 of the angle between two neighbouring states seen from a third, so that
    the arrows there and back are side by side and meet no others at the circle.
    """
    start, end = centres[source], centres[target]
    if source == target:
        outward = start / np.linalg.norm(start) if start.any() else np.array([0.0, 1.0])
        sideways = np.array([outward[1], -outward[0]])
        turns = np.linspace(0, 2 * np.pi, n_points)[:, None]
        loop = start + outward * 1.6 * radius
        line = loop - 0.85 * radius * (np.cos(turns) * outward + np.sin(turns) * sideways)
    else:
        along = np.linspace(0, 1, n_points)[:, None]
        across = np.array([start[1] - end[1], end[0] - start[0]])
        bent = (start + end) / 2 + np.tan(0.4 * np.pi / len(centres)) / 2 * across
        line = (1 - along) ** 2 * start + 2 * along * (1 - along) * bent + along**2 * end
    apart = np.linalg.norm(line[:, None] - np.stack([start, end]), axis=2)
    return line[(apart > 1.04 * radius).all(axis=1)]


def _arrow(line, width, radius):
    """Return the outline of an arrow along a line: a shaft of some width, and a head."""
    head_length = 0.4 * radius + 0.3 * width
    to_tip = np.linalg.norm(line - line[-1], axis=1)
    begin = min(int(np.flatnonzero(to_tip >= head_length)[-1]), len(line) - 2)
    shaft, tip = line[: begin + 1], line[-1]
    along = np.gradient(shaft, axis=0) if len(shaft) > 1 else (tip - shaft)
    across = np.column_stack([-along[:, 1], along[:, 0]])
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    direction = (tip - shaft[-1]) / np.linalg.norm(tip - shaft[-1])
    wing = np.array([-direction[1], direction[0]]) * (width / 2 + 0.18 * radius)
    left, right = shaft + across * width / 2, shaft - across * width / 2
    return np.concatenate([left, [shaft[-1] + wing, tip, shaft[-1] - wing], right[::-1]])
