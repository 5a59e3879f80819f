"""A function of the user's as a metric source; it runs where the rollout is led, in a worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from airflow_ml.core.ports import Reading
from airflow_ml.core.record import decode
from airflow_ml.errors import AirflowMLError, MetricUnreadable

#: ``(model, metric=..., epoch=...)`` to a `Reading`, or a mapping with its fields.
MetricFunction = Callable[..., Reading | Mapping[str, Any]]


class CallableMetrics:
    """MetricSource port over a function.

    Whatever the function raises counts as a metric out of reach: it is written down, and ends the rollout if it lasts.

    Args:
        function: Called as ``function(model, metric=metric, epoch=epoch)`` at each look.
    """

    def __init__(self, function: MetricFunction) -> None:
        self._function = function

    def read(self, model: str, *, metric: str, epoch: int) -> Reading:
        """Return what the function returns.

        Raises:
            MetricUnreadable: it raised, or returned no reading.
        """
        try:
            found = self._function(model, metric=metric, epoch=epoch)
        except MetricUnreadable:
            raise
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
            raise MetricUnreadable(f"The function that reads {metric} failed", problem, "See its traceback.") from error
        if isinstance(found, Reading):
            return found
        try:
            reading: Reading = decode(Reading, found)
        except (AirflowMLError, TypeError, ValueError, AttributeError, KeyError) as error:
            raise MetricUnreadable(
                f"The function that reads {metric} returned no reading",
                f"{type(found).__name__}: {error}",
                "Return a Reading, or a mapping with samples, watermark_at and assigned.",
            ) from error
        return reading
