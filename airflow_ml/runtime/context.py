"""What a function may ask for while it runs as a call: the store, its own call, and a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from airflow_ml.core.call import Call
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Where a call runs."""

    store: ArtifactStore
    call: Call
    log: Callable[[str], None]


_CURRENT: ContextVar[CallContext] = ContextVar("airflow_ml_call")


def current() -> CallContext:
    """Return the context of the call that is running.

    Raises:
        ConfigurationError: outside of a call.
    """
    try:
        return _CURRENT.get()
    except LookupError:
        raise ConfigurationError(
            "No call is running here", "", "Use run_call, or `running(context)` around the function."
        ) from None


@contextmanager
def running(context: CallContext) -> Iterator[None]:
    """Make a context the current one."""
    token = _CURRENT.set(context)
    try:
        yield
    finally:
        _CURRENT.reset(token)
