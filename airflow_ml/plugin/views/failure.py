"""From the error that a task left behind to who can mend it, and how."""

from __future__ import annotations

import builtins
import inspect
from typing import Any

from airflow_ml import errors
from airflow_ml.core.failure_table import REASONS
from airflow_ml.core.provenance import FAILED, Provenance

#: Where the remedy lies: with the person who wrote code, data or settings, or with the system that may be well again.
USER, SYSTEM, UNKNOWN = "user", "system", "unknown"
_TREE = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__}
_NETWORK = "Something that the task needs did not answer. Look whether it is well again, then clear the task."
_ENDED = "The task was told to end: by a person, or because Airflow lost sight of it. Clear it to run it again."
#: What comes from outside and passes: lost connections, lack of memory, timeouts, a task that was ended.
_PASSING = {
    "ConnectionError": _NETWORK,
    "ConnectionResetError": _NETWORK,
    "ConnectionRefusedError": _NETWORK,
    "BrokenPipeError": _NETWORK,
    "TimeoutError": _NETWORK,
    "OSError": "See the log: the operating system refused a file, a process or a connection.",
    "MemoryError": "Give the worker more memory, or read the data in batches: data.batches(n_rows).",
    "KeyboardInterrupt": _ENDED,
    "SystemExit": _ENDED,
    "AirflowTaskTerminated": _ENDED,
    "AirflowTaskTimeout": "Raise the task's execution_timeout, or give it less to do.",
}
_OF_A_FUNCTION = (
    "Mend the function, or the data that it met: another try fails the same way. The command below runs it."
)


def failure_of(item: Provenance) -> dict[str, Any] | None:
    """Return the classified failure of a task; None where it did not fail."""
    if item.outcome != FAILED:
        return None
    name, _, message = item.error.partition(": ")
    # What a retry cannot cure is wrapped: "AirflowFailException: GateBlocked: the words".
    inner, _, rest = message.partition(": ")
    wrapped = name in ("AirflowFailException", "AirflowException") and inner in _TREE
    if wrapped:
        name, message = inner, rest
    kind = _TREE.get(name)
    causes = [REASONS[reason] for reason in item.reasons if reason in REASONS]
    retryable = not wrapped and bool(getattr(kind, "retryable", name in _PASSING))
    remedy = item.remedy or _PASSING.get(name, "")
    if not remedy and kind is None and _is_of_a_function(name) and item.call is not None:
        remedy = _OF_A_FUNCTION
    return {
        "error": name,
        # The remedy has a line of its own.
        "message": message.removesuffix(item.remedy).rstrip() if item.remedy else message,
        "class": SYSTEM if retryable else USER if kind is not None or _is_of_a_function(name) else UNKNOWN,
        "remedy": remedy,
        "retryable": retryable,
        "causes": [
            {"name": one.name, "meaning": one.meaning, "remedy": one.remedy, "retryable": one.retryable}
            for one in causes
        ],
    }


def _is_of_a_function(name: str) -> bool:
    """Whether it is one of Python's own errors: raised by a function, not by a system."""
    kind = getattr(builtins, name, None)
    return isinstance(kind, type) and issubclass(kind, Exception)
