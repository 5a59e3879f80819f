"""Stage 7, canary: a comparison without a promotion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_ml.errors import ConfigurationError
from airflow_ml.operators.canary import CanaryOperator


class ABTestOperator(CanaryOperator):
    """Compare the challenger with the champion at one weight, and promote nothing.

    It is a canary with one step that ends with its decision: outcome ``concluded`` where a difference is shown, in
    whichever direction, ``inconclusive`` where none is in time, and ``rolled_back`` where a guardrail is broken or the
    split is not the one that was set. In each case all traffic is the champion's again and no alias moves; ``effect``
    and ``interval`` of the record say what was found. Retry, clear, kill, timeout: as for `CanaryOperator`.

    Args:
        weight_percent: The challenger's share (templated), above 0 and below 100. 50 needs the least traffic.
        least_data_days: Data days before a decision counts, however early it is shown: weekdays differ (templated).
        kwargs: Those of `CanaryOperator`, without ``steps``, ``hypothesis`` and ``margin``.
    """

    template_fields: Sequence[str] = (
        *(name for name in CanaryOperator.template_fields if name != "steps"),
        "weight_percent",
        "least_data_days",
    )
    ui_color = "#ecfccb"

    def __init__(
        self,
        *,
        weight_percent: float = 50.0,
        least_data_days: float = 7.0,
        task_id: str = "ab_test",
        **kwargs: Any,
    ) -> None:
        unknown = {"steps", "hypothesis", "margin"} & set(kwargs)
        if unknown:
            raise ConfigurationError("An A/B test has none of these", sorted(unknown), "Use canary for a promotion.")
        super().__init__(task_id=task_id, **kwargs)
        self.weight_percent = weight_percent
        self.least_data_days = least_data_days

    def plan_changes(self) -> dict[str, Any]:
        """Return what makes the plan one without a promotion."""
        step = {"weight_percent": float(self.weight_percent), "data_days": float(self.least_data_days)}
        return {"steps": [step], "promotes": False}


def ab_test(model: str, **kwargs: Any) -> Any:
    """Build an `ABTestOperator` and return its output, a `Rollout`; arguments as there."""
    return ABTestOperator(model=model, **kwargs).output
