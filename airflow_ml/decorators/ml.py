"""``@task.ml``: any function as a step whose arguments and result are versioned."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.bases.decorator import DecoratedOperator, TaskDecorator, task_decorator_factory

from airflow_ml.core.call import Call, CallResult
from airflow_ml.core.provenance import HIT, MISS
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.errors import ConfigurationError
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.runner_call import value_of_call

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore

#: Where a function may run: in the task's own process, or in a clean interpreter beside it.
WORKER, LOCAL = "worker", "local"


class MLDecoratedOperator(DecoratedOperator, MLOperator):
    """Call a function with records parsed and artifacts loaded; store what it returns.

    A returned value that is JSON stays in the XCom; anything else (a frame, an array, a model) becomes an artifact.

    Retry, clear: calls the function again, unless ``cache`` finds its result. Kill, timeout: with ``compute="local"``
    the interpreter and all its children are ended.
    """

    custom_operator_name = "@task.ml"
    template_fields: Sequence[str] = ("op_args", "op_kwargs")

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        compute: str = WORKER,
        cache: bool = False,
        seed: int | None = None,
        timeout_seconds: float | None = None,
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=[plain(item) for item in op_args or ()],
            op_kwargs={name: plain(item) for name, item in (op_kwargs or {}).items()},
            **kwargs,
        )
        if compute not in (WORKER, LOCAL):
            raise ConfigurationError("No such compute", repr(compute), f"Use {WORKER!r} or {LOCAL!r}.")
        self.compute = compute
        self.cache = cache
        self.seed = seed
        self.timeout_seconds = timeout_seconds
        #: What `run` did, for provenance, or why it can be done in this process only.
        self.call: Call | None = None
        self.not_portable = ""
        self.cache_outcome = ""

    def run(self, context: Context) -> Any:
        """Call the function here or in the runner, or return its earlier result."""
        store = self.store()
        bound = inspect.signature(self.python_callable).bind(*self.op_args, **self.op_kwargs)
        arguments: dict[str, JSON] = dict(bound.arguments)
        if self.compute == WORKER and not self.cache:
            try:
                self.call = self._as_call(arguments, store)
            except Exception as error:  # it runs here all the same, and cannot be reproduced elsewhere
                self.not_portable = f"{type(error).__name__}: {error}"
            return self._call_here(arguments, store)
        call = self.call = self._as_call(arguments, store)
        earlier = _cached(call, store) if self.cache else None
        if self.cache:
            self.cache_outcome = MISS if earlier is None else HIT
        if earlier is not None:
            self.log.info("The result of the same call is in the store (%s); the function is not run.", call.key)
            return earlier.value
        if self.compute == WORKER:
            value = self._call_here(arguments, store)
            _remember(call, value, store)
            return value
        return self._call_in_runner(call, store)

    def _call_here(self, arguments: Mapping[str, JSON], store: ArtifactStore) -> JSON:
        from airflow_ml.runtime.call import parse_argument, to_wire
        from airflow_ml.runtime.worker import seed_everything

        if self.seed is not None:
            seed_everything(self.seed)
        values = {name: parse_argument(value, store) for name, value in arguments.items()}
        return to_wire(self.python_callable(**values), store)

    def _as_call(self, arguments: Mapping[str, JSON], store: ArtifactStore) -> Call:
        from airflow_ml.runtime.capture import as_function_ref, capture
        from airflow_ml.runtime.environment import environment_digest

        return Call(
            function=as_function_ref(capture(self.python_callable), store),
            arguments=arguments,
            seed=self.seed or 0,
            environment=environment_digest(),
            compute=self.compute,
            namespace=self.namespace,
        )

    def _call_in_runner(self, call: Call, store: ArtifactStore) -> Any:
        return value_of_call(call, store=store, log=self.log.info, timeout_seconds=self.timeout_seconds)


def ml_task(python_callable: Callable[..., Any] | None = None, **kwargs: Any) -> TaskDecorator:
    """Decorate a function: ``@task.ml`` or ``@task.ml(compute="local", cache=True, seed=7)``.

    Args:
        python_callable: The function.
        compute: ``worker`` (default: in the task's process, Airflow's connections at hand) or ``local`` (a clean
            interpreter without connections and secrets).
        cache: Return the stored result where the same code met the same arguments, seed, environment and namespace.
        seed: Of `random` and numpy, set before the call; None leaves them alone.
        timeout_seconds: With ``local``, after which the interpreter is ended.
        kwargs: Arguments of any Airflow task.
    """
    return task_decorator_factory(
        python_callable=python_callable, decorated_operator_class=MLDecoratedOperator, **kwargs
    )


def _cached(call: Call, store: ArtifactStore) -> CallResult | None:
    from airflow_ml.runtime.call import call_ref

    newest = store.latest(call_ref(call))
    result = parse_as(CallResult, newest.value) if newest is not None else None
    return result if result is not None and result.status == "succeeded" else None


def _remember(call: Call, value: JSON, store: ArtifactStore) -> None:
    from airflow_ml.operators.base import publish
    from airflow_ml.runtime.call import call_ref

    publish(store, call_ref(call), CallResult(call=call.key, status="succeeded", value=value))
