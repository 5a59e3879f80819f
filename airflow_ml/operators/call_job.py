"""One function over many inputs, as one job: processes here, an Indexed Job of Kubernetes, an array of AWS Batch."""

from __future__ import annotations

import inspect
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.compute_choice import LOCAL, POLL_SECONDS, split_compute
from airflow_ml.core.fingerprint import seed_of
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.errors import CallFailed, ConfigurationError
from airflow_ml.hooks import store as store_hook
from airflow_ml.hooks.compute import compute_profile
from airflow_ml.operators.arguments import plain
from airflow_ml.operators.base import MLOperator, failing_at_once
from airflow_ml.operators.function import with_arguments_of
from airflow_ml.operators.ml_arguments import with_lists

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.call import CallResult, CallResults
    from airflow_ml.core.compute import ComputeProfile
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.operators.remote import Collected
    from airflow_ml.runtime.call import CallJob

#: XCom key of the table of a job that failed: what had succeeded is in it.
PARTIAL_KEY = "partial"
#: Failed calls that are named in the log.
_LOGGED = 20


class CallJobOperator(MLOperator):
    """Call a function once for each of many inputs, and return all results as one `CallResults`.

    Mapped task instances cost Airflow seconds each; this is one task, whatever the number of calls. If the compute
    profile is a cluster or queue, the task is deferred while an Indexed Job or array runs the calls, so many in each
    pod or child as ``calls_per_index`` says. Each result is stored before the next call begins.

    Retry: runs only the calls that have not succeeded yet, and continues with a job that still runs. Clear: ends the
    job and runs all calls again. Kill: ends the job. Timeout: ends the job; finished results are kept. A restart of
    Airflow's processes does not affect a remote job.

    Args:
        python_callable: The function, as for ``@task.ml``: it imports what it uses inside.
        inputs: One call for each item, which is passed as the function's first parameter: a list, or the output of
            another task that is one, in its XCom or as an artifact, or the output of another such job (templated).
        completions: Instead of ``inputs``, the number of calls; they are given 0, 1, 2, ... (templated).
        constants: Further arguments by name, the same for all calls (templated).
        compute: Name of a compute profile, or `airflow_ml.profile` for one with changes. Default ``local``: processes
            of the worker, as many side by side as it has CPUs; ``worker`` means the same.
        seed: The seed of each call, for `random` and numpy, is derived from this and the call's number. Default 0.
        timeout_seconds: Of one call; None (default) for no limit but the profile's.
        min_success_fraction: Below this share of successful calls the task fails. Default 1: all must succeed. The list
            of values has None for calls that did not.
        poll_interval_seconds: Pause between checks of a remote job, of one request each. Default 15.

    Raises:
        CallFailed: too few calls succeeded, because of the function's own errors. The XCom ``partial`` has the others.
        JobFailed: too few calls have any result; the message has the reasons and their remedies.
        ConfigurationError: no such profile, inputs that are not a list, a secret among the arguments, or arguments that
            the function does not take.
    """

    template_fields: Sequence[str] = ("inputs", "completions", "constants")
    shallow_copy_attrs: Sequence[str] = ("python_callable",)
    ui_color = "#dbeafe"
    argument_rules = {
        "inputs": rules.either("a list, or a task that returns one", list, Mapping, optional=True),
        "completions": rules.number(least=0, whole=True, optional=True),
        "constants": rules.mapping(),
        "seed": rules.number(whole=True),
        "timeout_seconds": rules.number(above=0, optional=True),
        "min_success_fraction": rules.number(least=0, most=1),
        "poll_interval_seconds": rules.number(above=0),
    }

    def __init__(
        self,
        python_callable: Callable[..., Any],
        inputs: Any = None,
        *,
        completions: Any = None,
        constants: Mapping[str, Any] | None = None,
        compute: str | Mapping[str, JSON] = LOCAL,
        seed: int = 0,
        timeout_seconds: float | None = None,
        min_success_fraction: float = 1.0,
        poll_interval_seconds: float = POLL_SECONDS,
        task_id: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(task_id=task_id or python_callable.__name__, **kwargs)
        split_compute(compute)  # a mistake shows when the DAG file is parsed; the deployment says what a name means
        if (inputs is None) == (completions is None):
            raise ConfigurationError(
                f"{self.task_id} needs inputs or completions", "both" if inputs is not None else "neither", "Give one."
            )
        self.python_callable = python_callable
        self.inputs = plain(inputs)
        self.completions = completions
        self.constants = plain(constants) if constants is not None else {}
        self.compute = compute
        self.seed = seed
        self.timeout_seconds = timeout_seconds
        self.min_success_fraction = min_success_fraction
        self.poll_interval_seconds = poll_interval_seconds
        self.check_arguments()
        if isinstance(self.constants, Mapping):  # by name at least they are known
            _check_signature(python_callable, self.constants)
        self._stop = threading.Event()

    def run(self, context: Context) -> CallResults:
        """Run what has no success yet, here or there."""
        from airflow_ml.operators.remote import is_remote, run_remotely

        store = self.store()
        profile = compute_profile(self.compute, log=self.log.info)
        jobs = self._jobs(store, profile, context)
        if not jobs:
            return self._results(context, jobs, [], store, profile.name)
        if not is_remote(profile):
            return self._results(context, jobs, self._run_here(jobs, store, context), store, profile.name)
        found = run_remotely(
            self, context, jobs, profile, namespace=self.namespace, poll_interval_seconds=self.poll_interval_seconds
        )
        return self._judged(context, found, store)

    def execute_complete(self, context: Context, event: Mapping[str, Any]) -> dict[str, JSON]:
        """Collect the results of a remote job from the store, however the job ended."""
        from airflow_ml.operators.remote import collect

        with failing_at_once():
            return self._judged(context, collect(self, event), self.store()).to_xcom()

    def on_kill(self) -> None:
        """End the processes here; a remote job is its trigger's."""
        self._stop.set()

    def _jobs(self, store: ArtifactStore, profile: ComputeProfile, context: Context) -> list[CallJob]:
        from airflow_ml.core.call import Call
        from airflow_ml.operators.ml_cache import call_owner
        from airflow_ml.operators.secret_masking import refuse_secrets
        from airflow_ml.runtime.call import CallJob
        from airflow_ml.runtime.capture import as_function_ref, capture
        from airflow_ml.runtime.environment import environment_digest
        from airflow_ml.runtime.values import wire_argument

        self.function = as_function_ref(capture(self.python_callable), store)
        first = next(iter(inspect.signature(self.python_callable).parameters))
        shared = {name: wire_argument(with_lists(value), store) for name, value in self.constants.items()}
        each = [wire_argument(value, store) for value in self._inputs(store)]
        refuse_secrets({**shared, first: each})
        environment, owner = environment_digest(), call_owner(context)
        return [
            CallJob(
                call=Call(
                    function=self.function,
                    arguments={first: value, **shared},
                    seed=seed_of(str(self.seed), str(number)),
                    environment=environment,
                    compute=profile.name,
                    namespace=self.namespace,
                ),
                timeout_seconds=self.timeout_seconds,
                owner=owner,
            )
            for number, value in enumerate(each)
        ]

    def _inputs(self, store: ArtifactStore) -> Sequence[Any]:
        """Return the inputs, records in wire form.

        Raises:
            ConfigurationError: they are not a list, or the number of calls is none.
        """
        from airflow_ml.core.call import CallResults
        from airflow_ml.runtime.call_results import read_values
        from airflow_ml.runtime.codecs import load_value

        if self.inputs is None:
            if isinstance(self.completions, bool) or not str(self.completions).isdecimal():
                raise ConfigurationError(
                    f"completions of {self.task_id} is not a number", self.completions, "Give one."
                )
            return range(int(self.completions))
        given = with_lists(self.inputs)
        if isinstance(given, Mapping) and given.get("record") == "CallResults":
            return read_values(parse_as(CallResults, given), store)
        if isinstance(given, Mapping) and given.get("record") == "Artifact":
            from airflow_ml.core.artifact import Artifact

            given = load_value(Artifact.from_dict(given), store)
        if not isinstance(given, list | tuple):
            raise ConfigurationError(
                f"inputs of {self.task_id} is not a list",
                type(given).__name__,
                "Give a list, or a task that returns one.",
            )
        return given

    def _run_here(self, jobs: list[CallJob], store: ArtifactStore, context: Context) -> list[CallResult | None]:
        from airflow_ml.operators.remote import job_key
        from airflow_ml.runtime.call import newest_result
        from airflow_ml.runtime.calls import CallsJob, finished
        from airflow_ml.runtime.runner import run_calls
        from airflow_ml.runtime.work import store_work

        facts: dict[str, JSON] = {}
        if "ti" in context:  # a retry has the same facts, a clear has others
            facts = {
                "job": job_key(self.namespace, context),
                "generation": str(getattr(context["ti"], "max_tries", "")),
            }
        missing = [job for job in jobs if finished(job.call, store, facts) is None] if facts else jobs
        if len(missing) < len(jobs):
            self.log.info("%d of %d calls succeeded in an earlier try", len(jobs) - len(missing), len(jobs))
        if missing:
            run_calls(
                CallsJob(work=store_work(missing, store), facts=facts),
                store_uri=store.uri,
                log=self.log.info,
                environment=store_hook.runner_environment(),
                stop=self._stop,
            )
        return [newest_result(job.call, store) for job in jobs]

    def _judged(self, context: Context, found: Collected, store: ArtifactStore) -> CallResults:
        from airflow_ml.core.call import CallResult
        from airflow_ml.operators.remote import refuse_failures

        results = [parse_as(CallResult, wire) if wire is not None else None for wire in found.results]
        jobs: Any = found.jobs
        self.function = jobs[0].call.function
        enough = sum(_succeeded(result) for result in results) >= self.min_success_fraction * len(results)
        if found.failures and not enough:
            self.push_record(context, PARTIAL_KEY, self._stored(jobs, results, store, jobs[0].call.compute))
            refuse_failures(found)
        return self._results(context, jobs, results, store, jobs[0].call.compute)

    def _results(
        self,
        context: Context,
        jobs: Sequence[CallJob],
        results: Sequence[CallResult | None],
        store: ArtifactStore,
        compute: str,
    ) -> CallResults:
        """Store the table, say what failed, and judge."""
        made = self._stored(jobs, results, store, compute)
        failed = [(number, result) for number, result in enumerate(results) if result and not _succeeded(result)]
        for number, result in failed[:_LOGGED]:
            self.log.error("call %d %s: %s", number, result.status, result.error)
        if len(failed) > _LOGGED:
            self.log.error("... and %d more", len(failed) - _LOGGED)
        self.log.info("%d of %d calls of %s succeeded", made.succeeded, made.calls, made.function.qualname)
        if made.succeeded < self.min_success_fraction * made.calls:
            self.push_record(context, PARTIAL_KEY, made)
            [(error, count)] = Counter(result.error for _, result in failed).most_common(1) or [("no result", 0)]
            last = next((result.traceback for _, result in failed if result.error == error), "")
            raise CallFailed(
                f"{made.calls - made.succeeded} of {made.calls} calls of {made.function.qualname} did not succeed",
                f"{count} of them: {error}",
                f"A retry runs only these. The end of a traceback:\n{last}",
            )
        return made

    def _stored(
        self, jobs: Sequence[CallJob], results: Sequence[CallResult | None], store: ArtifactStore, compute: str
    ) -> CallResults:
        from airflow_ml.runtime.call_results import store_results

        return store_results(self.function, jobs, results, store, compute=compute)


@with_arguments_of(CallJobOperator)
def call_job(python_callable: Callable[..., Any], inputs: Any = None, **kwargs: Any) -> Any:
    """Build a `CallJobOperator` from the same arguments and return its output; ``task_id`` is the function's name."""
    return CallJobOperator(python_callable=python_callable, inputs=inputs, **kwargs).output


def _succeeded(result: CallResult | None) -> bool:
    return result is not None and result.status == "succeeded"


def _check_signature(function: Callable[..., Any], constants: Mapping[str, Any]) -> None:
    """Refuse, when the DAG file is parsed, a function that cannot be called so.

    Raises:
        ConfigurationError: it has no parameter, or does not take these constants.
    """
    parameters = inspect.signature(function).parameters
    if not parameters:
        raise ConfigurationError(f"{function.__name__} takes no input", "no parameter", "Give it one, for each input.")
    first = next(iter(parameters))
    try:
        inspect.signature(function).bind(**{**constants, first: None})
    except TypeError as error:
        raise ConfigurationError(
            f"{function.__name__} cannot be called", str(error), "Give each parameter but the first in constants."
        ) from error
