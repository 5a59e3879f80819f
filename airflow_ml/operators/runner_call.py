"""Runs the package's own functions on user models and user code in the runner, never in the task's process."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_ml import errors
from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.record import JSON
from airflow_ml.errors import AirflowMLError, CallFailed, CallTimedOut
from airflow_ml.hooks import store as store_hook

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore


def run_in_runner(
    function: Callable[..., Any],
    arguments: Mapping[str, JSON],
    *,
    store: ArtifactStore,
    namespace: str,
    log: Callable[[str], None],
    seed: int = 0,
    timeout_seconds: float | None = None,
) -> Any:
    """Run a function in a clean interpreter and return its JSON value.

    Models are user code: loading them runs their author's code, so it happens where no connection or secret is.

    Raises:
        CallFailed: the function raised; the message carries its error and the traceback's end.
        CallTimedOut: it took longer than ``timeout_seconds``.
    """
    from airflow_ml.runtime.capture import as_function_ref, capture
    from airflow_ml.runtime.environment import environment_digest
    from airflow_ml.runtime.values import without_size_limit

    call = Call(
        function=as_function_ref(capture(function), store),
        arguments=dict(arguments),
        seed=seed,
        environment=environment_digest(),
        namespace=namespace,
    )
    value = value_of_call(call, store=store, log=log, timeout_seconds=timeout_seconds)
    return without_size_limit(value, store)


def value_of_call(
    call: Call,
    *,
    store: ArtifactStore,
    log: Callable[[str], None],
    timeout_seconds: float | None = None,
    owner: Mapping[str, JSON] | None = None,
    python: Path | None = None,
) -> Any:
    """Run a call in a clean interpreter and return its JSON value.

    Args:
        call: What to run.
        store: Where its result is committed; the interpreter opens the same address with the credentials of
            ``[ml] artifact_store``.
        log: Called with each line that the function writes.
        timeout_seconds: After which the interpreter is ended; None (default) for no limit but the task's own.
        owner: Which task asks, kept beside the result.
        python: The interpreter; None (default) for the one that runs this.

    Raises:
        CallFailed: the function raised; the message carries its error and the traceback's end. It is retryable, unless
            the error is one of airflow_ml that a retry does not cure, such as a value that cannot be stored.
        CallTimedOut: it took longer than ``timeout_seconds``.
    """
    from airflow_ml.runtime.runner import run_call

    result = run_call(
        call,
        store_uri=store.uri,
        store=store,
        timeout_seconds=timeout_seconds,
        log=log,
        environment=store_hook.runner_environment(),
        owner=owner,
        python=python,
    )
    return value_of_result(call, result, timeout_seconds)


def value_of_result(call: Call, result: CallResult, timeout_seconds: float | None) -> Any:
    """Return a call's value, or raise what its result says.

    Raises:
        CallFailed, CallTimedOut: as `value_of_call`.
    """
    if result.status == "succeeded":
        return result.value
    if result.status == "timed_out":
        raise CallTimedOut(f"{call.function.qualname} took too long", f"{timeout_seconds} s", "Raise the time limit.")
    failure = CallFailed(
        f"{call.function.qualname} {result.status}", result.error, f"The end of its traceback:\n{result.traceback}"
    )
    failure.retryable = _may_be_cured(result.error)
    raise failure


def _may_be_cured(error: str) -> bool:
    """Whether a retry can cure what a worker described: anything but an error of ours that says otherwise."""
    module, _, name = error.partition(":")[0].rpartition(".")
    known = getattr(errors, name, None) if module == errors.__name__ else None
    return not (isinstance(known, type) and issubclass(known, AirflowMLError)) or known.retryable
