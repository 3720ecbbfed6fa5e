"""The Old Faithful eruptions of August 1985."""

from importlib import resources

import numpy as np
from sklearn.utils import Bunch

_MODULE = "skvae.datasets"


def load_geyser(*, return_X_y=False, as_frame=False):
    """Return 299 consecutive eruptions of the Old Faithful geyser, in order.

    Each row is one eruption: the minutes waited for it, and the minutes it lasted.

    =================   ==============
    Samples total                  299
    Dimensionality                   2
    Features            real, positive
    Target                        none
    =================   ==============

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch. The data have no target: as in
        :func:`sklearn.datasets.fetch_openml`, it is None, so that
        ``estimator.fit(*load_geyser(return_X_y=True))`` and code written for any other loader
        work unchanged.
    as_frame : bool, default=False
        If True, the data are a pandas DataFrame with the column names of `feature_names`.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : {ndarray, DataFrame} of shape (299, 2)
            Waiting time and duration, both in minutes, one eruption a row, in time order.
        target : None
            There is nothing to predict.
        feature_names : list of str
            ``["waiting", "duration"]``.
        frame : DataFrame of shape (299, 2) or None
            The data as a DataFrame, if `as_frame` is True.
        DESCR : str
            The description of the data and of their source.
        filename : str
            The path of the CSV file below the package `data_module`.
        data_module : str
            The package that holds the file.

    (data, target) : tuple if `return_X_y` is True
        The data as above, and None.

    Raises
    ------
    ImportError
        If `as_frame` is True and pandas is not installed.

    Notes
    -----
    The durations of night eruptions were noted as short, medium or long, and are 2, 3 and 4
    minutes in the data: 78 of the 299 rows hold one of these values exactly. A density with a very
    narrow component can have a spike there, also for held-out rows, which repeat these values. Set
    a floor of the variances, or leave these rows out.

    References
    ----------
    .. [1] A. Azzalini and A. W. Bowman (1990). "A look at some data on the Old Faithful geyser".
       Applied Statistics 39(3), 357-365.

    Examples
    --------
    >>> from skvae.datasets import load_geyser
    >>> geyser = load_geyser()
    >>> geyser.data.shape
    (299, 2)
    >>> geyser.feature_names
    ['waiting', 'duration']
    >>> X, y = load_geyser(return_X_y=True)
    >>> y is None
    True
    """
    return load_table("geyser", return_X_y=return_X_y, as_frame=as_frame)


def load_table(name, *, return_X_y, as_frame):
    """Return a data set of the package without a target, in the forms of :func:`load_geyser`.

    Parameters
    ----------
    name : str
        The name of the CSV file and of its description.
    return_X_y, as_frame : bool
        See :func:`load_geyser`.
    """
    package, filename = resources.files(_MODULE), f"data/{name}.csv"
    with package.joinpath(filename).open(encoding="utf-8") as file:
        feature_names = [title.strip('"') for title in file.readline().strip().split(",")]
        data = np.loadtxt(file, delimiter=",", ndmin=2)

    frame = None
    if as_frame:
        frame = data = _to_frame(data, feature_names, name)
    if return_X_y:
        return data, None
    return Bunch(
        data=data,
        target=None,
        feature_names=feature_names,
        frame=frame,
        DESCR=package.joinpath(f"data/{name}.rst").read_text(encoding="utf-8"),
        filename=filename,
        data_module=_MODULE,
    )


def _to_frame(data, feature_names, name):
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError(
            f"load_{name}(as_frame=True) needs pandas, which is not installed: install it, "
            "or use as_frame=False."
        ) from error
    return pd.DataFrame(data, columns=feature_names)
