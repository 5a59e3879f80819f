"""The arms of a rollout: their names, and which of them a unit belongs to.

The units' places in [0, 1) are cut into as many equal segments as there are challengers, and each challenger has the
lower part of its own: raising the weight moves units from the champion to a challenger only, and stopping one
challenger moves no unit of another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from airflow_ml.core.aliases import CHALLENGER, CHAMPION

if TYPE_CHECKING:
    from datetime import datetime

    from airflow_ml.core.ports import Traffic
    from airflow_ml.core.record import JSON

#: The name of a step in strata in which challengers score without being heard.
SHADOW_STEP = "shadow"
#: Ends the name by which a source is asked for the differences of two scores of one request.
PAIRED_METRIC = " paired"
_PAIRED = "paired"


def arm_name(index: int) -> str:
    """Return the name of a challenger: ``challenger``, ``challenger-2``, ``challenger-3`` and so on."""
    return CHALLENGER if index == 0 else f"{CHALLENGER}-{index + 1}"


def arm_names(count: int) -> tuple[str, ...]:
    """Return the names of so many challengers."""
    return tuple(arm_name(index) for index in range(count))


def paired_name(arm: str) -> str:
    """Return the variant of samples over differences, an arm's score minus the champion's."""
    return _PAIRED if arm == CHALLENGER else f"{_PAIRED} {arm}"


def is_paired(variant: str) -> bool:
    """Whether a variant's samples are over differences."""
    return variant == _PAIRED or variant.startswith(f"{_PAIRED} ")


def challengers_of(traffic: Traffic) -> dict[str, Mapping[str, JSON]]:
    """Return the challengers of a division by arm, stopped ones included."""
    found = [] if traffic.challenger is None else [traffic.challenger, *traffic.others]
    return {arm_name(index): variant for index, variant in enumerate(found)}


def arm_at(place: float, arms: Sequence[str], weight_percent: float) -> str:
    """Return the arm of a unit's place in [0, 1).

    Args:
        place: Of the unit.
        arms: The challengers, in order; none of them is left out because it was stopped.
        weight_percent: Of each.
    """
    if not arms:
        return CHAMPION
    index = min(int(place * len(arms)), len(arms) - 1)
    within = place * len(arms) - index
    return arms[index] if within * 100.0 < weight_percent * len(arms) else CHAMPION


def expired(traffic: Traffic, now: datetime) -> bool:
    """Whether nobody renewed a division in time: from then on the champion serves alone."""
    return traffic.expires_at is not None and now >= traffic.expires_at


def effective_weight(traffic: Traffic, now: datetime) -> float:
    """Return the percent of units that each challenger answers at ``now``; 0 from the expiry on, whoever is dead."""
    return 0.0 if traffic.challenger is None or traffic.shadow or expired(traffic, now) else traffic.weight_percent


def in_shadow(traffic: Traffic, now: datetime) -> bool:
    """Whether challengers score the champion's requests at ``now``."""
    return traffic.shadow and traffic.challenger is not None and not expired(traffic, now)
