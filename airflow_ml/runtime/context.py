"""What a function may ask for while it runs as a call: the store, its own call, and a log."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

from airflow_ml.core.call import Call
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import ConfigurationError
from airflow_ml.runtime.checkpoint import Checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class CallContext:
    """Where a call runs."""

    store: ArtifactStore
    call: Call
    log: Callable[[str], None]
    kept: Checkpoint | None = None

    @property
    def checkpoint(self) -> Path:
        """A folder whose content the next try of this call finds again, if this one does not end well.

        It is put into the store at most every 60 seconds, and when the process is told to end.

        Raises:
            ConfigurationError: the call runs in the task's own process.
        """
        if self.kept is None:
            raise ConfigurationError(
                "There are no checkpoints in the task's own process", self.call.function.qualname, "Give compute=."
            )
        return self.kept.folder


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
