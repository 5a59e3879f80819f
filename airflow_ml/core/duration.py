"""Durations as people write them: ``"20min"``, ``"3h"``, ``"7d"``."""

from __future__ import annotations

import re

from airflow_ml.errors import ConfigurationError

_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d|w)\s*\Z")


def parse_duration(text: str | float) -> float:
    """Return a duration in seconds.

    Args:
        text: A number with one of the units s, sec, m, min, h, d, w; a bare number is seconds.

    Raises:
        ConfigurationError: for anything else, and for negative durations.
    """
    if isinstance(text, int | float) and not isinstance(text, bool) and text >= 0:
        return float(text)
    match = _TEXT.match(text) if isinstance(text, str) else None
    if match is None:
        raise ConfigurationError("Not a duration", repr(text), 'Write a number and a unit, like "20min", "3h" or "7d".')
    return float(match[1]) * _UNITS[match[2]]
