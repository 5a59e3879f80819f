"""Several tests at once: which of them are shown, with one bound on being wrong.

All functions take p-values. A test that is valid at every look has an always-valid p-value, ``min(1, 1 / max e)`` over
its looks (Johari, Koomen, Pekelis, Walsh, Operations Research 70, 2022), and corrections for any dependence hold for it
as for any other p-value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def always_valid_p(log_e: float) -> float:
    """Return the p-value of the largest log evidence so far."""
    return math.exp(-max(log_e, 0.0))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return adjusted p-values; those at most alpha are shown, and any wrong one among them has probability <= alpha.

    Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979. Holds
    under any dependence.

    Raises:
        ValueError: a p-value that is none.
    """
    _check(p_values)
    found: dict[str, float] = {}
    highest = 0.0
    ordered = sorted(p_values, key=lambda name: (p_values[name], name))
    for rank, name in enumerate(ordered):
        highest = max(highest, min(1.0, (len(ordered) - rank) * p_values[name]))
        found[name] = highest
    return found


def benjamini_hochberg(p_values: Mapping[str, float]) -> dict[str, float]:
    """Return adjusted p-values; among those at most q, the expected share of wrong ones is <= q.

    Benjamini and Hochberg, "Controlling the false discovery rate", JRSS B 57, 1995. For independent or positively
    dependent tests; for reading a table of many metrics, not for deciding a promotion.

    Raises:
        ValueError: a p-value that is none.
    """
    _check(p_values)
    found: dict[str, float] = {}
    lowest, count = 1.0, len(p_values)
    ordered = sorted(p_values, key=lambda name: (p_values[name], name), reverse=True)
    for place, name in enumerate(ordered):
        lowest = min(lowest, p_values[name] * count / (count - place))
        found[name] = lowest
    return found


def _check(p_values: Mapping[str, float]) -> None:
    for name, value in p_values.items():
        if not 0 <= value <= 1:
            raise ValueError(f"The p-value of {name} is none: {value}")
