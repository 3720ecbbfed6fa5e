"""Measurements as Markdown: numbers with their spread, targets with their verdicts, tables."""

NOT_APPLICABLE = "–"
FAILED = "fails"


def duration(spread):
    """Return seconds as text, "median (low–high)", in units that keep three figures.

    Examples
    --------
    >>> from benchmarks.timing import Spread
    >>> duration(Spread((0.0123, 0.0120, 0.0131)))
    '12.3 ms (12.0–13.1)'
    """
    units = (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6))
    unit, size = next((u for u in units if abs(spread.median) >= u[1]), units[-1])
    return _with_spread(spread, size, f" {unit}")


def ratio(spread):
    """Return a ratio as text, "median× (low–high)".

    Examples
    --------
    >>> from benchmarks.timing import Spread
    >>> ratio(Spread((10.0, 12.0, 11.0)))
    '11.0× (10.0–12.0)'
    """
    return _with_spread(spread, 1.0, "×")


def verdict(value, target, *, sign, unit=""):
    """Return the target and whether `value` reaches it.

    Parameters
    ----------
    value : float
    target : float or None
        None: there is no target, or it is not judged.
    sign : {"≥", "≤"}
        Which side of the target is the good one.
    unit : str, default=""
        Written behind the target.

    Examples
    --------
    >>> verdict(11.0, 10.0, sign="≥", unit="×")
    '≥ 10×: reached'
    >>> verdict(300.0, 256.0, sign="≤", unit=" MB")
    '≤ 256 MB: **missed**'
    """
    if target is None:
        return NOT_APPLICABLE
    reached = value >= target if sign == "≥" else value <= target
    return f"{sign} {target:g}{unit}: {'reached' if reached else '**missed**'}"


def table(columns, rows):
    """Return a Markdown table, or an empty string where there are no rows."""
    if not rows:
        return ""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _with_spread(spread, size, unit):
    numbers = [_figures(x / size) for x in (spread.median, spread.low, spread.high)]
    return f"{numbers[0]}{unit} ({numbers[1]}–{numbers[2]})"


def _figures(x):
    return f"{x:.0f}" if abs(x) >= 100 else f"{x:.1f}" if abs(x) >= 10 else f"{x:.2f}"
