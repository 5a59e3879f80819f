"""Which variant answers a unit: a sticky hash against the weight, the champion when in doubt."""

from __future__ import annotations

from datetime import datetime

from airflow_ml.core.fingerprint import unit_interval
from airflow_ml.core.ports import Traffic

CHAMPION, CHALLENGER = "champion", "challenger"


def effective_weight(traffic: Traffic, now: datetime) -> float:
    """Return the percent of units that the challenger answers at ``now``, a wall-clock moment.

    Zero without a challenger, and from ``expires_at`` on: a split never outlives its owner.
    """
    if traffic.challenger is None or (traffic.expires_at is not None and now >= traffic.expires_at):
        return 0.0
    return traffic.weight_percent


def assign(salt: str, unit: str, weight_percent: float) -> str:
    """Return the variant of a randomization unit.

    The unit's place in [0, 1) depends on salt and unit alone, and the challenger answers the places below the weight.
    So a unit keeps its variant, and raising the weight only moves units from the champion to the challenger.
    """
    return CHALLENGER if unit_interval(salt, unit) * 100.0 < weight_percent else CHAMPION


def step_label(weight_percent: float) -> str:
    """Return the name of a weight in strata, for example ``"5"`` or ``"12.5"``."""
    return format(weight_percent, ".10g")
