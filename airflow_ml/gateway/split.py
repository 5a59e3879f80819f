"""Which variant answers a unit: a sticky hash against the weight, the champion when in doubt."""

from __future__ import annotations

from collections.abc import Sequence

from airflow_ml.core.arms import SHADOW_STEP, arm_at, effective_weight, in_shadow
from airflow_ml.core.fingerprint import unit_interval
from airflow_ml.core.registration import CHALLENGER, CHAMPION

__all__ = ["CHALLENGER", "CHAMPION", "SHADOW_STEP", "assign", "effective_weight", "in_shadow", "step_label"]


def assign(salt: str, unit: str, weight_percent: float, arms: Sequence[str] = (CHALLENGER,)) -> str:
    """Return the arm of a randomization unit.

    The unit's place in [0, 1) depends on salt and unit alone, and each challenger answers the lower part of its share
    of the places. So a unit keeps its arm, and raising the weight only moves units from the champion to a challenger.
    """
    return arm_at(unit_interval(salt, unit), arms, weight_percent)


def step_label(weight_percent: float) -> str:
    """Return the name of a weight in strata, for example ``"5"`` or ``"12.5"``."""
    return format(weight_percent, ".10g")
