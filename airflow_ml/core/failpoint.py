"""Named places between durable writes where a test may make the process fail.

Nothing happens at them unless a test armed them (``airflow_ml.testing.failpoints``).
"""

from __future__ import annotations

from collections.abc import Callable


def _nothing(name: str) -> None:
    pass


_hook: Callable[[str], None] = _nothing


def fp(name: str) -> None:
    """Pass a failpoint, for example ``fp("rollout.after_intent")``."""
    _hook(name)


def arm(hook: Callable[[str], None] | None) -> None:
    """Call ``hook`` with the name of every failpoint passed from now on in this process; None disarms."""
    global _hook
    _hook = hook or _nothing
