"""From the error that a task left behind to who can mend it."""

from __future__ import annotations

import inspect
from typing import Any

from airflow_ml import errors
from airflow_ml.core.provenance import FAILED, Provenance

#: Where the remedy lies: with the person who wrote code, data or settings, or with the system that may be well again.
USER, SYSTEM, UNKNOWN = "user", "system", "unknown"
_TREE = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__}
#: What comes from outside and passes: lost connections, lack of memory, timeouts, a task that was ended.
_PASSING = frozenset(
    {
        "ConnectionError", "ConnectionResetError", "ConnectionRefusedError", "TimeoutError", "BrokenPipeError",
        "OSError", "MemoryError", "KeyboardInterrupt", "SystemExit", "AirflowTaskTerminated", "AirflowTaskTimeout",
    }
)  # fmt: skip


def failure_of(item: Provenance) -> dict[str, Any] | None:
    """Return the classified failure of a task; None where it did not fail."""
    if item.outcome != FAILED:
        return None
    name, _, message = item.error.partition(": ")
    # What a retry cannot cure is wrapped: "AirflowFailException: GateBlocked: the words".
    inner, _, rest = message.partition(": ")
    if name in ("AirflowFailException", "AirflowException") and inner in _TREE:
        name, message = inner, rest
    kind = _TREE.get(name)
    retryable = bool(getattr(kind, "retryable", name in _PASSING))
    return {
        "error": name,
        "message": message,
        "class": SYSTEM if retryable else USER if kind is not None or _is_users(name) else UNKNOWN,
        "remedy": "",
        "retryable": retryable,
    }


def _is_users(name: str) -> bool:
    """Whether it is one of Python's own errors: raised by a function, not by a system."""
    import builtins

    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, Exception)
