"""Which variant answers a unit: a sticky hash against the weight, the champion when in doubt."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from airflow_ml.core.arms import SHADOW_STEP, arm_at, effective_weight, in_shadow
from airflow_ml.core.fingerprint import unit_interval
from airflow_ml.core.registration import CHALLENGER, CHAMPION

__all__ = ["CHALLENGER", "CHAMPION", "SHADOW_STEP", "effective_weight", "in_shadow"]


def assign(salt: str, unit: str, weight_percent: float, arms: Sequence[str] = (CHALLENGER,)) -> str:
    """Return the arm of a randomization unit.

    The unit's place in [0, 1) depends on salt and unit alone, and each challenger answers the lower part of its share
    of the places. So a unit keeps its arm, and raising the weight only moves units from the champion to a challenger.
    """
    return arm_at(unit_interval(salt, unit), arms, weight_percent)


def assign_all(
    salt: str, units: Sequence[str], weight_percent: float, arms: Sequence[str] = (CHALLENGER,)
) -> list[str]:
    """Return what ``assign`` does for each unit; many at once cost less each."""
    salted = hashlib.sha256(f"{salt}\x00".encode())
    assigned = []
    for unit in units:
        digest = salted.copy()
        digest.update(unit.encode())
        # unit_interval(salt, unit), to the last bit.
        place = (int.from_bytes(digest.digest()[:8], "big") >> 11) / 2**53
        assigned.append(arm_at(place, arms, weight_percent))
    return assigned


def step_label(weight_percent: float) -> str:
    """Return the name of a weight in strata, for example ``"5"`` or ``"12.5"``."""
    return format(weight_percent, ".10g")
