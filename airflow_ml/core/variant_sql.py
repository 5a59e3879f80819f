"""Which variant scores a row, decided in the warehouse by the same sticky hash that Python computes."""

from __future__ import annotations

from airflow_ml.core.fingerprint import unit_interval
from airflow_ml.core.registration import CHALLENGER, CHAMPION
from airflow_ml.core.sql import ident

#: The column that names the row's variant, and the bound value of the hash's salt.
VARIANT = "airflow_ml_variant"
SALT = "airflow_ml_salt"
_PLACES = 2**53


def place_of(salt: str, unit: str) -> float:
    """Return a unit's place in [0, 1); the challenger scores the places below its weight."""
    return unit_interval(f"{salt}:{unit}")


def assign_row(salt: str, unit: str, weight_percent: float) -> str:
    """Return the variant of a unit, as `divided_spine` does it in SQL."""
    return CHALLENGER if place_of(salt, unit) * 100.0 < weight_percent else CHAMPION


def divided_spine(spine: str, *, unit: str, weight_percent: float) -> str:
    """Return the spine with one column more, ``airflow_ml_variant``; bind `SALT`.

    The first 16 hexadecimal digits of ``sha256(salt:unit)`` are compared as text with those of the weight, so no
    warehouse has to compute with large integers. A row without a unit stays with the champion.

    Args:
        spine: A SELECT.
        unit: The column of the randomization unit in it.
        weight_percent: The challenger's share, 0 to 100.
    """
    edge = _edge(weight_percent)
    digits = f"LEFT(SHA2_HEX(%({SALT})s || ':' || CAST(s.{ident(unit)} AS VARCHAR), 256), 16)"
    if edge <= 0:
        case = f"'{CHAMPION}'"
    elif edge >= _PLACES:
        case = f"CASE WHEN s.{ident(unit)} IS NULL THEN '{CHAMPION}' ELSE '{CHALLENGER}' END"
    else:
        case = f"CASE WHEN {digits} < '{edge << 11:016x}' THEN '{CHALLENGER}' ELSE '{CHAMPION}' END"
    body = spine.strip().rstrip(";")
    return f"SELECT s.*, {case} AS {ident(VARIANT)}\nFROM (\n{body}\n) AS s"


def _edge(weight_percent: float) -> int:
    """Return the smallest of 2^53 places that the challenger does not score, by the very comparison of Python."""
    low, high = 0, _PLACES
    while low < high:
        middle = (low + high) // 2
        if middle / _PLACES * 100.0 < weight_percent:
            low = middle + 1
        else:
            high = middle
    return low
