"""Arm failpoints: make a process raise, die or stall at a named place.

In one process: ``with failing("rollout.after_intent"): ...``. In a child process: set ``AIRFLOW_ML_FAILPOINTS`` to
``name=action[@n];...`` and call `arm_from_environment` there. Actions are ``raise``, ``kill`` (SIGKILL to itself) and
``sleep:<seconds>``; ``@n`` means the n-th passage only, without it the first.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from airflow_ml.core import failpoint

VARIABLE = "AIRFLOW_ML_FAILPOINTS"


class FailpointError(RuntimeError):
    """A failpoint that was told to raise."""


@dataclass(slots=True)
class _Armed:
    action: str
    passage: int
    passed: int = 0


class Failpoints:
    """A set of armed failpoints; ``seen`` lists every failpoint passed, armed or not."""

    def __init__(self, text: str) -> None:
        self.seen: list[str] = []
        self._armed: dict[str, _Armed] = {}
        for item in filter(None, (part.strip() for part in text.split(";"))):
            name, _, rest = item.partition("=")
            action, _, passage = rest.partition("@")
            if action not in ("raise", "kill") and not action.startswith("sleep:"):
                raise ValueError(f"Unknown action {action!r} in {item!r}; use raise, kill or sleep:<seconds>")
            self._armed[name] = _Armed(action=action, passage=int(passage or 1))

    def __call__(self, name: str) -> None:
        """Do what the failpoint was armed with."""
        self.seen.append(name)
        armed = self._armed.get(name)
        if armed is None:
            return
        armed.passed += 1
        if armed.passed != armed.passage:
            return
        if armed.action == "raise":
            raise FailpointError(name)
        if armed.action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(float(armed.action.partition(":")[2]))


def arm_from_environment() -> None:
    """Arm what ``AIRFLOW_ML_FAILPOINTS`` says, for the rest of this process."""
    text = os.environ.get(VARIABLE, "")
    if text:
        failpoint.arm(Failpoints(text))


@contextmanager
def failing(text: str, action: str = "raise") -> Iterator[Failpoints]:
    """Arm failpoints while the block runs: one name with an action, or a whole ``name=action`` list."""
    failpoints = Failpoints(text if "=" in text or not text else f"{text}={action}")
    failpoint.arm(failpoints)
    try:
        yield failpoints
    finally:
        failpoint.arm(None)
