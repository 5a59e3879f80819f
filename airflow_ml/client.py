"""Finding runs and the outcomes of their tasks, for notebooks and the command line: needs the store and no Airflow."""

from __future__ import annotations

import itertools
import os
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from airflow_ml.core.aliases import PRODUCTION
from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.provenance import index_ref, run_ref
from airflow_ml.errors import ArtifactNotFound, ConfigurationError, NotARecord
from airflow_ml.recorded_run import Run, TaskRun

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.record import JSON, Record

__all__ = [
    "BEFORE",
    "LATEST",
    "Run",
    "TaskRun",
    "dags",
    "default_namespace",
    "find_output",
    "find_run",
    "open_given",
    "runs",
    "runs_until",
]

#: Instead of a run's id: the newest run of the DAG, and the one before it.
LATEST, BEFORE = "latest", "before"
#: Runs among which the beginning of an id is looked for.
_SEARCHED_RUNS = 2000
#: Entries of a DAG's index that may stand in another order than their runs began.
_BEGAN_TOGETHER = 50


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
