"""Runs and what came of their tasks, for notebooks and the command line: needs the store and no Airflow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.provenance import Handle, Provenance, index_ref, run_ref
from airflow_ml.core.record import JSON, Record
from airflow_ml.errors import ArtifactNotFound, ConfigurationError, NotARecord

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore

#: In the place of a run's id: the newest run of the DAG, and the one before it.
LATEST, BEFORE = "latest", "before"


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRun:
    """The newest attempt of one task in one run."""

    provenance: Provenance

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

    def attempts(self) -> Iterator[Provenance]:
        """Yield the newest attempt of every task that has ended, in the order in which they began."""
        found = []
        base = run_ref(self.namespace, self.dag, self.run)
        for ref in self.store.refs(base):
            entry = self.store.latest(ref) if ref != base else None
            if entry is not None:
                found.append(Provenance.from_dict(entry.value))
        yield from sorted(found, key=lambda item: (item.started_at, item.task, item.map_index))

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
        return TaskRun(provenance=found[0])


def runs(
    dag: str | None = None, *, store: str | ArtifactStore | None = None, namespace: str | None = None
) -> list[Run]:
    """Return the runs that are in the store, newest first.

    Args:
        dag: Of this DAG only.
        store: A store or its address; default the environment variable ``AIRFLOW__ML__ARTIFACT_STORE``.
        namespace: Default ``AIRFLOW_ML_NAMESPACE``, else ``AIRFLOW__ML__NAMESPACE``, else ``prod``.

    Raises:
        ConfigurationError: no store is given.
    """
    opened = open_given(store)
    space = namespace or default_namespace()
    prefix = index_ref(space, dag or "any")
    refs = [prefix] if dag else list(opened.refs(prefix.rpartition("/")[0]))
    found: dict[tuple[str, str], Run] = {}
    for ref in refs:
        for entry in opened.history(ref):
            run = _run(entry.value, opened)
            found.setdefault((run.dag, run.run), run)  # two tasks that began a run together may both have entered it
    return sorted(found.values(), key=lambda run: (run.started_at, run.run), reverse=True)


def find_run(
    dag: str, run: str = LATEST, *, store: str | ArtifactStore | None = None, namespace: str | None = None
) -> Run:
    """Return one run: by its id, by the beginning of its id, ``latest`` or ``before`` (the one before the latest).

    Raises:
        ArtifactNotFound: there is none.
        ConfigurationError: several ids begin like that.
    """
    known = runs(dag, store=store, namespace=namespace)
    found = {LATEST: known[:1], BEFORE: known[1:2]}.get(run)
    if found is None:
        exact = [item for item in known if item.run == run]
        found = exact or [item for item in known if item.run.startswith(run)]
    if not found:
        raise ArtifactNotFound(f"DAG {dag} has no such run in the store", run, "`airflow-ml runs` lists what there is.")
    if len(found) > 1:
        raise ConfigurationError(
            "Several runs begin like that", ", ".join(item.run for item in found[:5]), "Give more."
        )
    return found[0]


def find_output(address: str, *, store: str | ArtifactStore | None = None, namespace: str | None = None) -> Record:
    """Return the one record that a task returned: ``dag/task@run``, the run as in `find_run`, default the latest.

    Raises:
        NotARecord: not such an address.
        ArtifactNotFound: no such run or task, or it returned no record.
        ConfigurationError: it returned several.
    """
    place, _, run = address.partition("@")
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
