"""Which variant scores a row, decided in the warehouse by the same sticky hash that Python computes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.core.arms import arm_at
from airflow_ml.core.fingerprint import unit_interval
from airflow_ml.core.sql import ident

#: The column that names the row's variant, and the bound value of the hash's salt.
VARIANT = "airflow_ml_variant"
SALT = "airflow_ml_salt"
_PLACES = 2**53


def place_of(salt: str, unit: str) -> float:
    """Return a unit's place in [0, 1); the challenger scores the places below its weight."""
    return unit_interval(f"{salt}:{unit}")


def assign_row(salt: str, unit: str, weight_percent: float, arms: Sequence[str] = (CHALLENGER,)) -> str:
    """Return the arm of a unit, as `divided_spine` does it in SQL."""
    return arm_at(place_of(salt, unit), arms, weight_percent)


def divided_spine(spine: str, *, unit: str, weight_percent: float, arms: Sequence[str] = (CHALLENGER,)) -> str:
    """Return the spine with one column more, ``airflow_ml_variant``; bind `SALT`.

    The first 16 hexadecimal digits of ``sha256(salt:unit)`` are compared as text with those of the weight, so no
    warehouse has to compute with large integers. A row without a unit stays with the champion.

    Args:
        spine: A SELECT.
        unit: The column of the randomization unit in it.
        weight_percent: Each challenger's share, 0 to 100.
        arms: The challengers' names, see `airflow_ml.core.arms`.
    """
    digits = f"LEFT(SHA2_HEX(%({SALT})s || ':' || CAST(s.{ident(unit)} AS VARCHAR), 256), 16)"
    whens = []
    for arm, start, end in _places(weight_percent, arms):
        if start == 0 and end >= _PLACES:
            whens = [f"WHEN s.{ident(unit)} IS NOT NULL THEN '{arm}'"]
            break
        tests = [f"{digits} >= '{start << 11:016x}'"] if start else []
        tests += [f"{digits} < '{end << 11:016x}'"] if end < _PLACES else []
        whens.append(f"WHEN {' AND '.join(tests)} THEN '{arm}'")
    case = f"CASE {' '.join(whens)} ELSE '{CHAMPION}' END" if whens else f"'{CHAMPION}'"
    body = spine.strip().rstrip(";")
    return f"SELECT s.*, {case} AS {ident(VARIANT)}\nFROM (\n{body}\n) AS s"


def _places(weight_percent: float, arms: Sequence[str]) -> list[tuple[str, int, int]]:
    """Return of each challenger that has any its places out of 2^53, by the very comparison of Python."""
    found = []
    for index, arm in enumerate(arms):
        start = _first(0, lambda n, index=index: int(n / _PLACES * len(arms)) >= index)  # type: ignore[misc]
        end = _first(start, lambda n, arm=arm: arm_at(n / _PLACES, arms, weight_percent) != arm)  # type: ignore[misc]
        if end > start:
            found.append((arm, start, end))
    return found


def _first(low: int, is_behind: Callable[[int], bool]) -> int:
    """Return the first place from ``low`` on that is behind an edge; 2^53 where none is."""
    high = _PLACES
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if is_behind(middle) else (middle + 1, high)
    return low
