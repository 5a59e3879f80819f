"""Durations as people write them: ``"20min"``, ``"3h"``, ``"7d"``."""

from __future__ import annotations

import re

from airflow_ml.errors import ConfigurationError

_UNITS = {"s": 1, "sec": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_CENTURY_SECONDS = 36_525 * 86_400.0
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(s|sec|m|min|h|d|w)\s*\Z")


def parse_duration(text: str | float) -> float:
    """Return a duration in seconds.

    Args:
        text: A number with one of the units s, sec, m, min, h, d, w; a bare number is seconds.

    Raises:
        ConfigurationError: for anything else, for negative durations, and for more than a century: Python's own times
            and the warehouse's end not far beyond, and it is always a slip.
    """
    seconds: float | None = None
    if isinstance(text, int | float) and not isinstance(text, bool):
        seconds = float(text)
    elif isinstance(text, str) and (match := _TEXT.match(text)):
        seconds = float(match[1]) * _UNITS[match[2]]
    if seconds is None or not seconds >= 0:
        raise ConfigurationError("Not a duration", repr(text), 'Write a number and a unit, like "20min", "3h" or "7d".')
    if seconds > _CENTURY_SECONDS:
        raise ConfigurationError("A duration of more than a century", repr(text)[:60], "Write at most 36525d.")
    return seconds
