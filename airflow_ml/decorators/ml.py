"""``@task.ml``: any function as a step whose arguments and result are versioned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attr
from airflow.sdk.bases.decorator import DecoratedOperator, _TaskDecorator

from airflow_ml.core.call import Call
from airflow_ml.core.compute import LOCAL, WORKER
from airflow_ml.core.provenance import HIT, MISS
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError
from airflow_ml.operators.base import MLOperator
from airflow_ml.operators.ml_arguments import bind_arguments, without_objects
from airflow_ml.operators.ml_cache import earlier_result, owner_of, remember, told_origin
from airflow_ml.operators.runner_call import value_of_call

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore


class MLDecoratedOperator(DecoratedOperator, MLOperator):
    """Call a function with records opened and artifacts loaded; store what it returns.

    A returned value that is JSON of at most 32 KiB stays in the XCom; anything else (a frame, an array, a model, a long
    list) becomes an artifact, and within a list or dict each such item becomes one.

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
        environment: str | None = None,
        trusted: bool = False,
        timeout_seconds: float | None = None,
        multiple_outputs: bool = False,
        op_args: Sequence[Any] | None = None,
        op_kwargs: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            multiple_outputs=multiple_outputs,
            op_args=[without_objects(item) for item in op_args or ()],
            op_kwargs={name: without_objects(item) for name, item in (op_kwargs or {}).items()},
            **kwargs,
        )
        self.compute = compute
        self.cache = cache
        self.seed = seed
        self.environment = environment
        self.trusted = trusted
        self.timeout_seconds = timeout_seconds
        self._check()
        #: What `run` did, for provenance, or why it can be done in this process only.
        self.call: Call | None = None
        self.not_portable = ""
        self.cache_outcome = ""
        self.described_environment: dict[str, JSON] | None = None

    def run(self, context: Context) -> Any:
        """Call the function where it belongs, or return its earlier result."""
        store = self.store()
        given = bind_arguments(self.python_callable, self.op_args, self.op_kwargs, context)
        if self._in_this_process and not self.cache:
            try:
                self.call = self._as_call(given, store)
            except Exception as error:  # it runs here all the same, and cannot be reproduced elsewhere
                self.not_portable = f"{type(error).__name__}: {error}"
            return self._call_here(given, store)
        call = self.call = self._as_call(given, store)
        earlier = earlier_result(call, store) if self.cache else None
        if self.cache:
            self.cache_outcome = MISS if earlier is None else HIT
        if earlier is not None:
            self.log.info("Not run: the same call has a result already, from %s (%s).", told_origin(earlier), call.key)
            return earlier.value
        if self._in_this_process:
            value = self._call_here(given, store)
            remember(call, value, store, context)
            return value
        return self._call_elsewhere(call, store, context)

    @property
    def _in_this_process(self) -> bool:
        """An environment of its own or a pickle needs a process of its own."""
        return self.compute == WORKER and self.environment is None and not self.trusted

    def _call_here(self, given: Mapping[str, Any], store: ArtifactStore) -> JSON:
        from airflow_ml.runtime.values import call_with, open_arguments, returns_list, to_wire
        from airflow_ml.runtime.worker import seed_everything

        if self.seed is not None:
            seed_everything(self.seed)
        opened = open_arguments(self.python_callable, given, store)
        returned = call_with(self.python_callable, opened)
        return to_wire(returned, store, items=returns_list(self.python_callable), parts=bool(self.multiple_outputs))

    def _as_call(self, given: Mapping[str, Any], store: ArtifactStore) -> Call:
        from airflow_ml.runtime.capture import as_function_ref, capture
        from airflow_ml.runtime.environment import environment_digest
        from airflow_ml.runtime.values import wire_argument

        locked = self._locked()
        self.described_environment = None if locked is None else locked.description
        return Call(
            function=as_function_ref(capture(self.python_callable), store),
            arguments={name: wire_argument(value, store) for name, value in given.items()},
            seed=self.seed or 0,
            environment=environment_digest() if locked is None else locked.digest,
            compute=LOCAL if self.compute == WORKER and not self._in_this_process else self.compute,
            namespace=self.namespace,
            trusted=self.trusted,
        )

    def _call_elsewhere(self, call: Call, store: ArtifactStore, context: Context) -> Any:
        from airflow_ml.runtime.values import to_wire, without_size_limit

        locked = self._locked()
        value = value_of_call(
            call,
            store=store,
            log=self.log.info,
            timeout_seconds=self.timeout_seconds,
            owner=owner_of(context),
            python=None if locked is None else locked.interpreter(self.log.info),
        )
        return to_wire(without_size_limit(value, store), store, parts=True) if self.multiple_outputs else value

    def _locked(self) -> Any:
        from airflow_ml.runtime.locked_environment import read_locked

        if self.environment is None:
            return None
        folder = Path(self.dag.fileloc).parent if self.has_dag() else Path.cwd()  # type: ignore[no-untyped-call]
        return read_locked(folder / self.environment)

    def _check(self) -> None:
        if self.compute not in (WORKER, LOCAL):
            raise ConfigurationError("No such compute", repr(self.compute), f"Use {WORKER!r} or {LOCAL!r}.")
        if self.environment is not None and not self.environment.endswith((".txt", ".lock")):
            raise ConfigurationError(
                "An image is an environment for compute on a cluster only",
                f"environment={self.environment!r}, compute={self.compute!r}",
                "Name a locked requirements file (.txt or .lock), or a compute profile of kind kubernetes or batch.",
            )


@attr.define(slots=False)
class MLTaskDecorator(_TaskDecorator):  # type: ignore[type-arg]  # any function
    """A function decorated with ``@task.ml``: in a DAG a task, elsewhere the plain function."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Make the task, or run the function itself where no DAG is being defined."""
        from airflow.sdk.definitions._internal.contextmanager import DagContext

        if DagContext.get_current() is None and "dag" not in self.kwargs:
            return self.function(*args, **kwargs)
        return super().__call__(*args, **kwargs)


def ml_task(
    python_callable: Callable[..., Any] | None = None, *, multiple_outputs: bool | None = None, **kwargs: Any
) -> Any:
    """Decorate a function: ``@task.ml`` or ``@task.ml(compute="local", cache=True, seed=7)``.

    Args:
        python_callable: The function.
        multiple_outputs: Push each value of the returned dict as an XCom of its own, large ones as artifacts; default
            by the function's annotation, as for ``@task``.
        compute: ``worker`` (default: in the task's process, Airflow's connections at hand) or ``local`` (a clean
            interpreter without connections and secrets).
        cache: Return the stored result where the same code met the same arguments, seed, environment and namespace.
        seed: Of `random` and numpy, set before the call; None leaves them alone.
        environment: A requirements file with every version pinned (``.txt`` or ``.lock``, beside the DAG file), for
            this function alone: it runs in a clean interpreter with a virtual environment that is built once for the
            file's content. An image needs a compute profile of a cluster.
        trusted: Load files named ``.pkl``, ``.pickle`` or ``.joblib`` among the arguments, which runs their author's
            code; the function then runs in a clean interpreter. Without it they arrive as paths.
        timeout_seconds: Outside of the task's process, after which the interpreter is ended.
        kwargs: Arguments of any Airflow task.
    """
    wanted: Any = attr.NOTHING if multiple_outputs is None else multiple_outputs

    def decorate(function: Callable[..., Any]) -> MLTaskDecorator:
        return MLTaskDecorator(
            function=function, multiple_outputs=wanted, operator_class=MLDecoratedOperator, kwargs=dict(kwargs)
        )

    return decorate if python_callable is None else decorate(python_callable)
