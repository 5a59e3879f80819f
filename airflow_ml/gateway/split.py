"""Which variant answers a unit: a sticky hash against the weight, the champion when in doubt."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence

from airflow_ml.core.aliases import CHALLENGER, CHAMPION
from airflow_ml.core.arms import SHADOW_STEP, arm_at, effective_weight, in_shadow
from airflow_ml.core.fingerprint import unit_interval

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
    if not arms or weight_percent <= 0:
        return [CHAMPION] * len(units)
    prefix, sha256 = f"{salt}\x00", hashlib.sha256
    if len(arms) == 1:
        # A digest is below the limit, as bytes, where its unit's place is within the weight.
        limit, arm = _limit(weight_percent), arms[0]
        return [arm if sha256((prefix + unit).encode()).digest() < limit else CHAMPION for unit in units]
    assigned = []
    for unit in units:
        digest = sha256((prefix + unit).encode()).digest()
        # unit_interval(salt, unit), to the last bit.
        assigned.append(arm_at((int.from_bytes(digest[:8], "big") >> 11) / 2**53, arms, weight_percent))
    return assigned


@functools.lru_cache(maxsize=256)
def _limit(weight_percent: float) -> bytes:
    """Return the lowest digest whose place the champion has, beside one challenger; found by asking ``arm_at``."""
    low, high = 0, 2**53
    while low < high:
        middle = (low + high) // 2
        low, high = (
            (low, middle) if arm_at(middle / 2**53, (CHALLENGER,), weight_percent) == CHAMPION else (middle + 1, high)
        )
    return (low << 11).to_bytes(8, "big") if low < 2**53 else b"\xff" * 33


def step_label(weight_percent: float) -> str:
    """Return the name of a weight in strata, for example ``"5"`` or ``"12.5"``."""
    return format(weight_percent, ".10g")
