"""Stage 7, canary: comparisons without a promotion, as an A/B test or in shadow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.errors import ConfigurationError
from airflow_ml.operators.canary import CanaryOperator

_OF_A_PROMOTION = frozenset({"steps", "hypothesis", "margin", "design"})


class ABTestOperator(CanaryOperator):
    """Compare one or more challengers with the champion at a fixed weight, and promote nothing.

    A canary with one step that ends with a decision: ``concluded`` if a difference is shown in either direction,
    ``inconclusive`` if none is shown in time, ``rolled_back`` if a guardrail is broken or the split differs from the
    one that was set. In each case the champion has all traffic again and no alias moves; ``effect`` and ``interval`` of
    the record say what was found. Retry, clear, kill, timeout: as for `CanaryOperator`.

    Several ``challengers`` each get the weight, and one shown to be worse is stopped. The test concludes once a
    difference is shown for each of the others; or, when ``max_data_days`` have passed, with those that are shown. The
    record's ``arms`` has all of them. ``alpha`` holds for all of them together.

    Args:
        weight_percent: Each challenger's share (templated), above 0 and below 100. None (default): equal shares for
            champion and challengers, which need the least traffic.
        least_data_days: Data days before a decision counts, however early it is shown: weekdays differ (templated).
        kwargs: Those of `CanaryOperator`, without ``steps``, ``design``, ``hypothesis`` and ``margin``.
    """

    template_fields: Sequence[str] = (
        *(name for name in CanaryOperator.template_fields if name not in _OF_A_PROMOTION),
        "weight_percent",
        "least_data_days",
    )
    ui_color = "#ecfccb"
    argument_rules = {
        **CanaryOperator.argument_rules,
        "weight_percent": rules.number(above=0, below=100, optional=True),
        "least_data_days": rules.number(least=0),
    }

    def __init__(
        self,
        *,
        weight_percent: float | None = None,
        least_data_days: float = 7.0,
        task_id: str = "ab_test",
        **kwargs: Any,
    ) -> None:
        _refuse(kwargs, "An A/B test")
        self.weight_percent, self.least_data_days = weight_percent, least_data_days  # the plan is checked below
        super().__init__(task_id=task_id, **kwargs)

    def plan_changes(self) -> dict[str, Any]:
        """Return what makes the plan one without a promotion."""
        weight = self.weight_percent
        share = 100.0 / (len(self.aliases()) + 1) if weight is None else float(weight)
        return {"steps": [{"weight_percent": share, "data_days": float(self.least_data_days)}], "promotes": False}


class ShadowOperator(CanaryOperator):
    """Let challengers score the champion's requests without serving the scores, and compare the pairs of scores.

    No challenger's answer is served, so nothing is at risk; and the difference of two scores of the same request is
    free of the variation between requests, so few days are enough. It is meaningful only if the outcome does not depend
    on the prediction. It ends ``concluded`` if a difference is shown, ``inconclusive`` if none is shown in time, and
    promotes nothing: `CanaryOperator` with ``design="paired_shadow"`` does. The champion's answers are neither changed
    nor delayed: the gateway mirrors a request after answering it, batch scoring scores all rows with each version.
    Retry, clear, kill, timeout: as for `CanaryOperator`.

    Args:
        least_data_days: Data days before a decision counts (templated). A day is one observation, so fewer than five
            rarely show anything.
        kwargs: Those of `CanaryOperator`, without ``steps``, ``design``, ``hypothesis`` and ``margin``.
    """

    template_fields: Sequence[str] = (
        *(name for name in CanaryOperator.template_fields if name not in _OF_A_PROMOTION),
        "least_data_days",
    )
    ui_color = "#f1f5f9"
    argument_rules = {
        **CanaryOperator.argument_rules,
        "least_data_days": rules.number(least=0),
    }

    def __init__(self, *, least_data_days: float = 7.0, task_id: str = "shadow", **kwargs: Any) -> None:
        _refuse(kwargs, "A shadow")
        self.least_data_days = least_data_days  # the plan is checked below
        super().__init__(task_id=task_id, **{"max_data_days": 42.0, **kwargs})

    def plan_changes(self) -> dict[str, Any]:
        """Return what makes the plan one in shadow."""
        step = {"kind": "shadow", "weight_percent": 0.0, "data_days": float(self.least_data_days)}
        return {"steps": [step], "design": "paired_shadow", "promotes": False}


def _refuse(arguments: dict[str, Any], what: str) -> None:
    unknown = _OF_A_PROMOTION & set(arguments)
    if unknown:
        raise ConfigurationError(f"{what} has none of these", sorted(unknown), "Use canary for a promotion.")


def ab_test(model: str, **kwargs: Any) -> Any:
    """Build an `ABTestOperator` from the same arguments and return its output, a `Rollout`."""
    return ABTestOperator(model=model, **kwargs).output


def shadow(model: str, **kwargs: Any) -> Any:
    """Build a `ShadowOperator` from the same arguments and return its output, a `Rollout`."""
    return ShadowOperator(model=model, **kwargs).output
