"""A trial that does nothing, in a module that imports nothing: the sweep is measured, and not a library's import."""

from __future__ import annotations

from typing import Any


def noop(data: Any, params: Any, trial: Any) -> float:
    """Return a number at once."""
    return 1.0
