"""``@task.ml``: any function as a step whose arguments and result are versioned."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attr
from airflow.sdk.bases.decorator import DecoratedOperator, _TaskDecorator

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.compute_choice import LOCAL, WORKER, split_compute
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.errors import ConfigurationError
from airflow_ml.hooks.compute import compute_profile
from airflow_ml.operators.base import MLOperator, failing_at_once
from airflow_ml.operators.ml_arguments import bind_arguments, without_objects

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.call import Call
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.operators.remote import Collected


class MLDecoratedOperator(DecoratedOperator, MLOperator):
    """Call a function with records opened and artifacts loaded; store what it returns.

    A returned value that is JSON of at most 32 KiB stays in the XCom; anything else (a frame, an array, a model, a long
    list) becomes an artifact, and within a list or dict each such item becomes one.

    Retry, clear: calls the function again, unless ``cache`` finds its result. Kill, timeout: with ``compute="local"``
    the interpreter and all its children are ended. If the profile is a cluster or queue, the task is deferred while the
    job runs: a retry continues with the job of the previous try, a clear ends it and starts another, marking the task
    failed or successful ends it, and a restart of Airflow's processes does not affect it.
    """

    custom_operator_name = "@task.ml"
    template_fields: Sequence[str] = ("op_args", "op_kwargs")
    argument_rules = {
        "cache": rules.flag(),
        "seed": rules.number(whole=True, optional=True),
        "environment": rules.text(optional=True),
        "trusted": rules.flag(),
        "timeout_seconds": rules.number(above=0, optional=True),
    }

    def __init__(
        self,
        *,
        python_callable: Callable[..., Any],
        compute: str | Mapping[str, JSON] = WORKER,
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
        self.check_arguments()
        split_compute(compute)  # a mistake shows when the DAG file is parsed; the deployment says what a name means
        #: What `run` did, for provenance, or why it can be done in this process only.
        self.call: Call | None = None
        self.not_portable = ""
        self.cache_outcome = ""
        self.described_environment: dict[str, JSON] | None = None

    def run(self, context: Context) -> Any:
        """Call the function where it belongs, or return its earlier result."""
        from airflow_ml.core.provenance import HIT, MISS
        from airflow_ml.operators.ml_cache import call_owner, earlier_result, origin_of, remember
        from airflow_ml.operators.remote import is_remote, run_remotely
        from airflow_ml.operators.secret_masking import refuse_secrets

        store = self.store()
        given = bind_arguments(self.python_callable, self.op_args, self.op_kwargs, context)
        profile = self._profile()
        here = profile.kind == WORKER
        if here and not self.cache:
            try:
                self.call = self._as_call(given, profile, store)
            except Exception as error:  # it runs here all the same, and cannot be reproduced elsewhere
                self.not_portable = f"{type(error).__name__}: {error}"
            return self._call_here(given, store, parts=bool(self.multiple_outputs))
        call = self.call = self._as_call(given, profile, store)
        if not here:
            refuse_secrets(call.arguments)
        earlier = earlier_result(call, store) if self.cache else None
        if self.cache:
            self.cache_outcome = MISS if earlier is None else HIT
        if earlier is not None:
            self.log.info("Not run: the same call already has a result, from %s (%s).", origin_of(earlier), call.key)
            return self._parts(earlier.value, store)
        if here:
            value = self._call_here(given, store, parts=False)
            remember(call, value, store, context)
            return self._parts(value, store)
        if not is_remote(profile):
            return self._call_in_runner(call, store, context)
        from airflow_ml.runtime.call import CallJob

        job = CallJob(call=call, timeout_seconds=self.timeout_seconds, owner=call_owner(context))
        return self._value(run_remotely(self, context, [job], profile, namespace=self.namespace), store)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> Any:
        """Return what the function returned there; its result is in the store, even if the pod or child failed."""
        from airflow_ml.operators.remote import collect

        with failing_at_once():
            return self._value(collect(self, event), self.store())

    def _value(self, found: Collected, store: ArtifactStore) -> Any:
        from airflow_ml.core.call import CallResult
        from airflow_ml.core.provenance import MISS
        from airflow_ml.operators.remote import refuse_failures
        from airflow_ml.operators.runner_call import value_of_result

        job: Any = found.jobs[0]
        self.call = job.call
        self.cache_outcome = MISS if self.cache else ""
        refuse_failures(found)
        value = value_of_result(job.call, parse_as(CallResult, found.results[0]), job.timeout_seconds)
        return self._parts(value, store)

    def _profile(self) -> ComputeProfile:
        """Return where the function runs; an environment of its own or a pickle needs a process of its own.

        Raises:
            ConfigurationError: the environment does not fit the place.
        """
        from airflow_ml.operators.remote import is_remote

        profile = compute_profile(self.compute, log=self.log.info)
        image = self.environment if self.environment and not self.environment.endswith((".txt", ".lock")) else None
        if is_remote(profile):
            if self.environment and image is None:
                raise ConfigurationError(
                    "A requirements file is an environment for the worker's machine only",
                    f"environment={self.environment!r}, compute profile {profile.name!r} of kind {profile.kind}",
                    "Name an image that has these packages.",
                )
            return replace(profile, image=image) if image else profile
        if image is not None:
            raise ConfigurationError(
                "An image is an environment for compute on a cluster only",
                f"environment={self.environment!r}, compute={self.compute!r}",
                "Name a locked requirements file (.txt or .lock), or a compute profile of kind kubernetes or batch.",
            )
        own = self.environment is not None or self.trusted
        return replace(profile, kind=LOCAL) if own and profile.kind == WORKER else profile

    def _call_here(self, given: Mapping[str, Any], store: ArtifactStore, *, parts: bool) -> JSON:
        from airflow_ml.runtime.values import call_with, open_arguments, returns_list, to_wire
        from airflow_ml.runtime.worker import seed_everything

        if self.seed is not None or self.cache:
            seed_everything(self.seed or 0)  # what the call's key says
        opened = open_arguments(self.python_callable, given, store)
        returned = call_with(self.python_callable, opened)
        return to_wire(returned, store, items=returns_list(self.python_callable), parts=parts)

    def _as_call(self, given: Mapping[str, Any], profile: ComputeProfile, store: ArtifactStore) -> Call:
        from airflow_ml.core.call import Call
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
            compute=LOCAL if profile.name == WORKER and profile.kind == LOCAL else profile.name,
            namespace=self.namespace,
            trusted=self.trusted,
        )

    def _call_in_runner(self, call: Call, store: ArtifactStore, context: Context) -> Any:
        from airflow_ml.operators.ml_cache import call_owner
        from airflow_ml.operators.runner_call import value_of_call

        locked = self._locked()
        value = value_of_call(
            call,
            store=store,
            log=self.log.info,
            timeout_seconds=self.timeout_seconds,
            owner=call_owner(context),
            python=None if locked is None else locked.interpreter(self.log.info),
        )
        return self._parts(value, store)

    def _parts(self, value: JSON, store: ArtifactStore) -> JSON:
        """Return a value so that each of its items becomes an XCom, if that was asked for."""
        from airflow_ml.runtime.values import to_wire, without_size_limit

        return to_wire(without_size_limit(value, store), store, parts=True) if self.multiple_outputs else value

    def _locked(self) -> Any:
        from airflow_ml.runtime.locked_environment import read_locked

        if self.environment is None or not self.environment.endswith((".txt", ".lock")):
            return None
        folder = Path(self.dag.fileloc).parent if self.has_dag() else Path.cwd()  # type: ignore[no-untyped-call]
        return read_locked(folder / self.environment)


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
        multiple_outputs: Push each value of the returned dict as an XCom of its own, large ones as artifacts. Default:
            by the function's annotation, as for ``@task``.
        compute: Name of a compute profile, or `airflow_ml.profile` for one with changes: ``worker`` (default: the
            task's own process, with Airflow's connections), ``local`` (a clean interpreter beside it, without
            connections and secrets), or one of the deployment's, such as a GPU pod.
        cache: Return the stored result if the same code was called with the same arguments, seed, environment and
            namespace before, and the artifacts of that result are still in the store. Default False.
        seed: Of `random` and numpy, set before the call. None (default) leaves them alone in the task's own process;
            with ``cache``, and outside that process, None means 0, so that the call can be repeated.
        environment: A requirements file with every version pinned (``.txt`` or ``.lock``, beside the DAG file), for
            this function alone: it runs in a clean interpreter with a virtual environment that is built once for the
            file's content. With a compute profile of a cluster: an image.
        trusted: Load files named ``.pkl``, ``.pickle`` or ``.joblib`` among the arguments, which runs their author's
            code; the function then runs in a clean interpreter. Default False: they arrive as paths.
        timeout_seconds: Time limit of the function outside the task's own process. None (default) for no limit.
        kwargs: Arguments of any Airflow task.
    """
    wanted: Any = attr.NOTHING if multiple_outputs is None else multiple_outputs

    def decorate(function: Callable[..., Any]) -> MLTaskDecorator:
        return MLTaskDecorator(
            function=function, multiple_outputs=wanted, operator_class=MLDecoratedOperator, kwargs=dict(kwargs)
        )

    return decorate if python_callable is None else decorate(python_callable)
