"""The velocities of galaxies in the Corona Borealis region."""

from skvae.datasets.geyser import load_table


def load_galaxies(*, return_X_y=False, as_frame=False):
    """Return the velocities of 82 galaxies, in km/s and in increasing order.

    =================   ==============
    Samples total                   82
    Dimensionality                   1
    Features            real, positive
    Target                        none
    =================   ==============

    Parameters
    ----------
    return_X_y : bool, default=False
        If True, return ``(data, target)`` instead of a Bunch. The data have no target: it is None.
    as_frame : bool, default=False
        If True, the data are a pandas DataFrame with the column names of `feature_names`.

    Returns
    -------
    bunch : :class:`~sklearn.utils.Bunch`
        Dictionary-like object, with the following attributes.

        data : {ndarray, DataFrame} of shape (82, 1)
            Velocities in km/s.
        target : None
            There is nothing to predict.
        feature_names : list of str
            ``["velocity"]``.
        frame : DataFrame of shape (82, 1) or None
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

    References
    ----------
    .. [1] K. Roeder (1990). "Density estimation with confidence sets exemplified by superclusters
       and voids in the galaxies". J. Am. Stat. Assoc. 85(411), 617-624.

    Examples
    --------
    >>> from skvae.datasets import load_galaxies
    >>> load_galaxies().data.shape
    (82, 1)
    """
    return load_table("galaxies", return_X_y=return_X_y, as_frame=as_frame)
