"""Runs and what came of their tasks, for notebooks and the command line: needs the store and no Airflow."""

from __future__ import annotations

import itertools
import os
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_ml.core.aliases import PRODUCTION
from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.provenance import Handle, Provenance, index_ref, run_ref, task_ref
from airflow_ml.core.record import JSON, Record
from airflow_ml.errors import ArtifactNotFound, ConfigurationError, NotARecord, NotPortable

if TYPE_CHECKING:
    from airflow_ml.core.call import Call
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.runtime.recorded_trial import RecordedTrial

#: In the place of a run's id: the newest run of the DAG, and the one before it.
LATEST, BEFORE = "latest", "before"
#: Runs among which the beginning of an id is looked for.
_SEARCHED_RUNS = 2000
#: Entries of a DAG's index that may stand in another order than their runs began.
_BEGAN_TOGETHER = 50


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
        """Return one trial of a sweep: what it was given, what came of it, and ``again()``.

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


def runs(
    dag: str | None = None,
    *,
    store: str | ArtifactStore | None = None,
    namespace: str | None = None,
    limit: int | None = None,
) -> list[Run]:
    """Return the runs that are in the store, newest first.

    Args:
        dag: Of this DAG only.
        store: A store or its address; default the environment variable ``AIRFLOW__ML__ARTIFACT_STORE``.
        namespace: Default ``AIRFLOW_ML_NAMESPACE``, else ``AIRFLOW__ML__NAMESPACE``, else ``prod``.
        limit: At most so many, the newest ones; only these are read. None (default) for all.

    Raises:
        ConfigurationError: no store is given.
    """
    opened = open_given(store)
    space = namespace or default_namespace()
    prefix = index_ref(space, dag or "any")
    refs = [prefix] if dag else list(opened.refs(prefix.rpartition("/")[0]))
    found = [run for ref in refs for run in itertools.islice(_newest(ref, opened), limit)]
    return sorted(found, key=lambda run: (run.started_at, run.run), reverse=True)[:limit]


def runs_until(
    dag: str, at: datetime, *, store: str | ArtifactStore | None = None, namespace: str | None = None
) -> Iterator[Run]:
    """Yield the runs of one DAG that began at a time or before, newest first, each read when it is asked for.

    Args:
        dag: The DAG.
        at: The time.
        store, namespace: As of `runs`.
    """
    opened, ref = open_given(store), index_ref(namespace or default_namespace(), dag)
    newest = opened.latest(ref)

    def began_later(sequence: int) -> bool:
        entry = next(opened.history(ref, newest_first=True, up_to=sequence))
        return _run(entry.value, opened).started_at > at

    # The index is in the order in which runs began, give or take those that began together.
    last = newest.sequence if newest is not None else 0
    earlier = bisect_left(range(1, last + 1), True, key=began_later)
    for run in _newest(ref, opened, up_to=min(last, earlier + _BEGAN_TOGETHER)):
        if run.started_at <= at:
            yield run


def dags(*, store: str | ArtifactStore | None = None, namespace: str | None = None) -> list[str]:
    """Return the ids of the DAGs that have runs in the store."""
    opened = open_given(store)
    prefix = index_ref(namespace or default_namespace(), "any").rpartition("/")[0]
    newest = [opened.latest(ref) for ref in opened.refs(prefix)]
    return sorted(str(entry.value["dag"]) for entry in newest if entry is not None)


def find_run(
    dag: str, run: str = LATEST, *, store: str | ArtifactStore | None = None, namespace: str | None = None
) -> Run:
    """Return one run: by its id, by the beginning of its id, ``latest`` or ``before`` (the one before the latest).

    In another namespace than ``prod`` a DAG that has no runs there is looked up in ``prod``: experiments read what
    production made, and never write there.

    Raises:
        ArtifactNotFound: there is none.
        ConfigurationError: several ids begin like that.
    """
    opened = open_given(store)
    space = namespace or default_namespace()
    if space != PRODUCTION and opened.latest(index_ref(space, dag)) is None:
        space = PRODUCTION
    newest = _newest(index_ref(space, dag), opened)
    if run in (LATEST, BEFORE):
        found = list(itertools.islice(newest, 1 if run == LATEST else 2))[0 if run == LATEST else 1 :]
    else:
        entry = opened.latest(run_ref(space, dag, run))
        looked_at = itertools.islice(newest, _SEARCHED_RUNS) if entry is None else ()
        found = (
            [item for item in looked_at if item.run.startswith(run)] if entry is None else [_run(entry.value, opened)]
        )
    if not found:
        raise ArtifactNotFound(f"DAG {dag} has no such run in the store", run, "`airflow-ml runs` lists what there is.")
    if len(found) > 1:
        raise ConfigurationError(
            "Several runs begin like that", ", ".join(item.run for item in found[:5]), "Give more."
        )
    return found[0]


def find_output(address: str, *, store: str | ArtifactStore | None = None, namespace: str | None = None) -> Record:
    """Return the one record that a task returned: ``dag/task@run``, the run as in `find_run`, default the latest.

    ``prod:dag/task@run`` names a namespace as well.

    Raises:
        NotARecord: not such an address.
        ArtifactNotFound: no such run or task, or it returned no record.
        ConfigurationError: it returned several.
    """
    space, colon, rest = address.partition(":")
    place, _, run = (rest if colon and "/" not in space else address).partition("@")
    namespace = space if colon and "/" not in space else namespace
    dag, _, task = place.partition("/")
    if not dag or not task:
        raise NotARecord("Not the address of an output", repr(address)[:120], "Write dag/task@run, or give a record.")
    found = find_run(dag, run or LATEST, store=store, namespace=namespace)[task]
    if not found.outputs:
        raise ArtifactNotFound("The task returned no record", address, f"It {found.outcome}.")
    if len(found.outputs) > 1:
        kinds = ", ".join(handle.name for handle in found.provenance.outputs)
        raise ConfigurationError("The task returned several records", kinds, "Take one from run[task].outputs.")
    return found.outputs[0]


def open_given(store: str | ArtifactStore | None) -> ArtifactStore:
    """Return the store that is meant.

    Raises:
        ConfigurationError: none is given.
    """
    from airflow_ml.adapters.object_store import open_store

    if store is not None and not isinstance(store, str):
        return store
    uri = store or os.environ.get("AIRFLOW__ML__ARTIFACT_STORE", "")
    if not uri:
        raise ConfigurationError(
            "No artifact store is given",
            "neither store nor AIRFLOW__ML__ARTIFACT_STORE",
            "Give the address, or set the environment variable AIRFLOW__ML__ARTIFACT_STORE.",
        )
    return open_store(uri)


def default_namespace() -> str:
    """Return the namespace that the environment names, else ``prod``."""
    return os.environ.get("AIRFLOW_ML_NAMESPACE") or os.environ.get("AIRFLOW__ML__NAMESPACE") or "prod"


def _newest(ref: str, store: ArtifactStore, *, up_to: int | None = None) -> Iterator[Run]:
    """Yield the runs in a DAG's index, newest first, reading only as far as they are taken."""
    seen = set()
    for entry in store.history(ref, newest_first=True, up_to=up_to):
        run = _run(entry.value, store)
        if run.run not in seen:  # two tasks that began a run together may both have entered it
            seen.add(run.run)
            yield run


def _run(value: Mapping[str, JSON], store: ArtifactStore) -> Run:
    return Run(
        dag=str(value["dag"]),
        run=str(value["run"]),
        namespace=str(value["namespace"]),
        started_at=parse_time(str(value["started_at"])),
        triggered_by=str(value.get("triggered_by", "")),
        store=store,
    )


def _last_parts(item: Provenance) -> tuple[str, str]:
    return item.title.rpartition(".")[2], item.task.rpartition(".")[2]


def _records(handles: tuple[Handle, ...]) -> tuple[Record, ...]:
    import airflow_ml

    return tuple(airflow_ml.load(handle.value) for handle in handles if handle.value is not None)
