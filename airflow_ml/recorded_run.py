"""One run and what came of its tasks, as they wrote it down: needs the store and no Airflow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.core.provenance import Handle, Provenance, run_ref, task_ref
from airflow_ml.core.record import Record
from airflow_ml.errors import ArtifactNotFound, ConfigurationError, NotPortable

if TYPE_CHECKING:
    from airflow_ml.core.call import Call
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.runtime.recorded_trial import RecordedTrial


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """The newest attempt of one task in one run."""

    provenance: Provenance
    store: ArtifactStore = field(repr=False, compare=False)

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of a `@task.ml` function as it was given them: frames, data, values.

        Raises:
            NotPortable: the task ran no function that can run elsewhere.
        """
        from airflow_ml.runtime.values import open_arguments

        call = self._call()
        return open_arguments(self.function(), call.arguments, self.store)

    def again(self, **changes: Any) -> Any:
        """Run the function of a `@task.ml` task here, on the arguments of the task, with its seed.

        Args:
            changes: Arguments by name, instead of those that the task was given.
        """
        from airflow_ml.runtime.values import call_with
        from airflow_ml.runtime.worker import seed_everything

        given = {**self.arguments(), **changes}
        seed_everything(self._call().seed)
        return call_with(self.function(), given)

    def function(self) -> Callable[..., Any]:
        """Return the function of a `@task.ml` task, as it was; raises as `arguments`."""
        from airflow_ml.runtime.load import load_function

        return load_function(self._call().function, self.store)

    def _call(self) -> Call:
        source = self.provenance
        if source.call is None:
            why = source.not_portable or source.operator
            raise NotPortable(f"{source.title} ran no function that can run elsewhere", why, "See its .inputs.")
        return source.call

    @property
    def outputs(self) -> tuple[Record, ...]:
        """The records that it returned."""
        return _records(self.provenance.outputs)

    @property
    def inputs(self) -> tuple[Record, ...]:
        """The records that it was given."""
        return _records(self.provenance.inputs)

    @property
    def outcome(self) -> str:
        """``succeeded``, ``failed`` or ``skipped``."""
        return self.provenance.outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of a DAG, as its tasks wrote it down."""

    dag: str
    run: str
    namespace: str
    started_at: datetime
    triggered_by: str
    store: ArtifactStore = field(repr=False, compare=False)

    def attempts(self, task: str | None = None) -> Iterator[Provenance]:
        """Yield the newest attempt of every task that has ended, in the order in which they began.

        Args:
            task: Only those of the task with this id, all its positions; the others are not read.
        """
        base = run_ref(self.namespace, self.dag, self.run)
        wanted = "" if task is None else task_ref(self.namespace, self.dag, self.run, task)
        alone = self.store.latest(wanted) if wanted else None  # of a task that is not mapped, nothing is listed
        refs = (ref for ref in self.store.refs(base) if ref != base and wanted in ("", ref.partition("@")[0]))
        entries = [alone] if alone is not None else [self.store.latest(ref) for ref in refs]
        found = [Provenance.from_dict(entry.value) for entry in entries if entry is not None]
        yield from sorted(found, key=lambda item: (item.started_at, item.task, item.map_index))

    def trial(self, task: str, number: int | str) -> RecordedTrial:
        """Return one trial of a sweep: its inputs, its result, and ``again()``.

        Args:
            task: The sweep's group, such as ``train``.
            number: Such as 17 or ``t00017``.

        Raises:
            ArtifactNotFound: no such sweep or trial, or no result of it.
        """
        from airflow_ml.runtime.recorded_trial import find_trial

        attempts = [item for item in self.attempts() if item.task == task or item.task.startswith(f"{task}.")]
        return find_trial(attempts, str(number), self.store)

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names of the tasks that have ended, mapped ones with their position."""
        return tuple(item.title for item in self.attempts())

    def __getitem__(self, name: str) -> TaskRun:
        """Return a task by its id, by ``id[3]`` where it is mapped, or by the last part of its id in a group.

        Raises:
            ArtifactNotFound: no such task has ended in this run.
            ConfigurationError: several tasks have that name.
        """
        attempts = list(self.attempts())
        exact = [item for item in attempts if name in (item.title, item.task)]
        found = exact or [item for item in attempts if name in _last_parts(item)]
        if not found:
            known = ", ".join(item.title for item in attempts) or "none"
            raise ArtifactNotFound(f"No such task in {self.dag}/{self.run}", name, f"Tasks that have ended: {known}.")
        if len(found) > 1:
            raise ConfigurationError(
                "Several tasks have that name", ", ".join(item.title for item in found), "Name one."
            )
        return TaskRun(provenance=found[0], store=self.store)


def _last_parts(item: Provenance) -> tuple[str, str]:
    return item.title.rpartition(".")[2], item.task.rpartition(".")[2]


def _records(handles: tuple[Handle, ...]) -> tuple[Record, ...]:
    import airflow_ml

    return tuple(airflow_ml.load(handle.value) for handle in handles if handle.value is not None)
