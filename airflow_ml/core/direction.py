"""Which way of a metric is better."""

from __future__ import annotations

from airflow_ml.errors import ConfigurationError

MINIMIZE, MAXIMIZE = "minimize", "maximize"
DIRECTIONS = (MINIMIZE, MAXIMIZE)


def check_direction(direction: object, *, of: str = "") -> None:
    """Refuse whatever is not a direction.

    Args:
        direction: What was given.
        of: Name of the metric, for the message.

    Raises:
        ConfigurationError: it is neither ``minimize`` nor ``maximize``.
    """
    if direction not in DIRECTIONS:
        what = f"Unknown direction of {of}" if of else "Unknown direction"
        raise ConfigurationError(what, repr(direction), "Use 'minimize' or 'maximize'.")
