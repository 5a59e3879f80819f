"""Models: which versions there are, which serves and why, and how they came to be."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from airflow_ml.core.aliases import CHALLENGER, CHAMPION, PREVIOUS
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.registration import ModelVersion
from airflow_ml.core.rollout_state import ENDS, RolloutState
from airflow_ml.errors import AirflowMLError, InvalidKey, RecordError
from airflow_ml.plugin.views.aliases import Registered, aliases_of, registries_of, unasked
from airflow_ml.plugin.views.canary import action_row, rollout_brief, versions_of
from airflow_ml.plugin.views.documents import feature_view_of, gate_detail, signature_of
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.parts import ABSENT, NotHere, part
from airflow_ml.plugin.views.rollouts import Book, names_below, owner_dag, owner_of, version_of
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.plugin.views.summary import RunSummary
from airflow_ml.plugin.views.task import one_attempt

_MODELS = 200
_VERSIONS = 100
#: Versions whose gate, signature and features are read as well.
_DETAILED = 20
#: How long the details of a version are believed: its documents never change, but a lost one may come back.
_SECONDS = 60.0
_read: Lru[Any] = Lru(400)
#: Runs that registered a version long ago are read for one page at most so long.
_LONG_AGO_SECONDS = 1.0
#: How long one list of models may wait for registries.
_REGISTRY_SECONDS = 2.0


def model_rows(
    shelf: Shelf, summaries: Sequence[RunSummary], may_read: Callable[[str], bool], registered: Registered = unasked
) -> list[dict[str, Any]]:
    """Return all models of the namespace, those with a rollout under way first, then the newest.

    Args:
        shelf: The store's runs.
        summaries: Runs of DAGs that may be read, newest first.
        may_read: Whose rollouts are shown.
        registered: Asked for the aliases of models without a rollout.
    """
    began, conns = time.monotonic(), registries_of(summaries)

    def ask(model: str, conn_id: str | None) -> Mapping[str, str]:
        # A registry that is away holds up a list of models once, and not for each of them.
        return registered(model, conn_id) if time.monotonic() - began < _REGISTRY_SECONDS else {}

    names = sorted(
        {
            *names_below(shelf.store, f"models/{shelf.namespace}"),
            *names_below(shelf.store, f"rollouts/{shelf.namespace}"),
        }
    )
    drifts = {row["model"]: row for row in _oldest_first(row for summary in summaries for row in summary.drifts)}
    made = {row["model"]: row["at"] for row in _oldest_first(row for summary in summaries for row in summary.versions)}
    rows = [
        _row(shelf, name, drifts.get(name), made.get(name), may_read, partial(ask, name, conns.get(name)))
        for name in names[:_MODELS]
    ]
    return sorted(rows, key=lambda row: (bool(row["rollout"] and row["rollout"]["live"]), row["newest_at"] or ""))[::-1]


def model_view(
    shelf: Shelf,
    name: str,
    summaries: Sequence[RunSummary],
    may_read: Callable[[str], bool],
    *,
    mlflow: str | None,
    registered: Registered = unasked,
) -> dict[str, Any]:
    """Return one model.

    Args:
        shelf: The store's runs.
        name: Of the model.
        summaries: Runs of DAGs that may be read, newest first.
        may_read: Whose rollouts are shown.
        mlflow: Its page in MLflow.
        registered: Asked for its aliases where it has no rollout.

    Raises:
        NotHere: the namespace has no such model.
    """
    try:
        records = _known_versions(shelf, name)
    except InvalidKey as error:
        raise NotHere(f"No model {name}") from error
    book = shelf.rollouts.book(shelf.store, shelf.namespace, name)
    if not records and not book.states:
        raise NotHere(f"No model {name}")
    aliases = aliases_of(book, records, partial(registered, name, registries_of(summaries).get(name)))
    made = {row["version"]: row for summary in summaries for row in summary.versions if row["model"] == name}
    gates = {
        (summary.dag, summary.run): row for summary in summaries for row in summary.gates if row["kind"] == "model"
    }
    outcomes = {
        version_of(variant): {"epoch": state.epoch, "outcome": state.state if _went_on(state, arm) else "not_chosen"}
        for _, state in sorted(book.states.values(), key=lambda one: one[0])
        for arm, variant in state.challengers.items()
    }
    versions = []
    began = time.monotonic()
    for position, record in enumerate(records):
        row = made.get(record.version)
        if row is None and position < _DETAILED and time.monotonic() - began < _LONG_AGO_SECONDS:
            row = _registered_long_ago(shelf, record, gates, may_read)
        details = _known_details(shelf, record, row, gates) if position < _DETAILED else _no_details()
        versions.append({**_version(record, aliases, row, outcomes.get(record.version)), **details})
    metrics = sorted({metric for record in records for metric in record.metrics})
    return {
        "name": name,
        "links": {"mlflow": mlflow},
        "champion": aliases.get(CHAMPION),
        "challenger": aliases.get(CHALLENGER),
        "previous": aliases.get(PREVIOUS),
        "versions": versions,
        "history": [_promotion(state) for state in _shown(book, may_read)],
        "metrics": [
            {
                "name": metric,
                "points": [
                    {"version": record.version, "value": record.metrics[metric]}
                    for record in reversed(records)
                    if metric in record.metrics
                ],
            }
            for metric in metrics
        ],
        "drift": [row for summary in summaries for row in summary.drifts if row["model"] == name][:50],
    }


def _row(
    shelf: Shelf,
    name: str,
    drift: Any,
    newest_at: str | None,
    may_read: Callable[[str], bool],
    registered: Callable[[], Mapping[str, str]],
) -> dict[str, Any]:
    records: list[ModelVersion] = []
    count = 0
    try:
        newest = shelf.store.latest(f"models/{shelf.namespace}/{name}")
        if newest is not None:
            count = newest.sequence
            records = [ModelVersion.from_dict(newest.value)]
    except (AirflowMLError, TypeError, ValueError):
        pass  # the model's own page says what is wrong with it
    book = shelf.rollouts.book(shelf.store, shelf.namespace, name)
    aliases = aliases_of(book, records, registered)
    shown = next(iter(_shown(book, may_read)), None)
    return {
        "name": name,
        "champion": aliases.get(CHAMPION),
        "challenger": aliases.get(CHALLENGER),
        "versions": count,
        "newest_at": newest_at,
        "rollout": None if shown is None else rollout_brief(shown, shelf.now()),
        "drift": drift,
    }


def _went_on(state: RolloutState, arm: str) -> bool:
    """Whether what became of a rollout became of this challenger: of several, of the chosen one once there is one."""
    return arm == state.chosen or (not state.chosen and arm not in state.stopped)


def _shown(book: Book, may_read: Callable[[str], bool]) -> list[RolloutState]:
    """Return the rollouts that may be seen, newest first."""
    found = []
    for _, state in sorted(book.states.values(), key=lambda one: one[0], reverse=True):
        try:
            if may_read(owner_dag(state)):
                found.append(state)
        except NotHere:
            continue
    return found


def _known_versions(shelf: Shelf, name: str) -> list[ModelVersion]:
    """Return a model's versions, newest first; read again when there is a new entry."""
    newest = shelf.store.latest(f"models/{shelf.namespace}/{name}")
    if newest is None:
        return []
    key = ("versions", shelf.store.uri, newest.ref, newest.sequence)
    found: list[ModelVersion] = _read.get(key, lambda: list(_versions(shelf, name)))
    return found


def _versions(shelf: Shelf, name: str) -> Iterator[ModelVersion]:
    seen: set[str] = set()
    for entry in shelf.store.history(f"models/{shelf.namespace}/{name}", newest_first=True):
        try:
            record = ModelVersion.from_dict(entry.value)
        except (RecordError, TypeError, ValueError):
            continue
        if record.version not in seen:
            seen.add(record.version)
            yield record
        if len(seen) >= _VERSIONS:
            return


def _version(
    record: ModelVersion, aliases: Mapping[str, str], row: Mapping[str, Any] | None, outcome: Any
) -> dict[str, Any]:
    return {
        "version": record.version,
        "aliases": sorted(alias for alias, version in aliases.items() if version == record.version),
        "at": row["at"] if row else None,
        "made_by": row["task"] if row else None,
        "commit": row["commit"] if row else "",
        "view": record.view,
        "view_digest": record.view_digest,
        "model_digest": record.model_digest,
        "run_id": record.run_id,
        "features": list(record.features),
        "metrics": dict(record.metrics),
        "rollout": outcome,
    }


def _known_details(
    shelf: Shelf, record: ModelVersion, row: Mapping[str, Any] | None, gates: Mapping[tuple[str, str], Any]
) -> dict[str, Any]:
    key = ("details", shelf.store.uri, record.fingerprint, record.version, repr(row))
    found: dict[str, Any] = _read.get(key, lambda: _details(shelf, record, row, gates), seconds=lambda _: _SECONDS)
    return found


def _details(
    shelf: Shelf, record: ModelVersion, row: Mapping[str, Any] | None, gates: Mapping[tuple[str, str], Any]
) -> dict[str, Any]:
    gate = gates.get((row["task"]["dag_id"], row["task"]["run_id"])) if row else None

    def read_gate() -> Any:
        if gate is None:
            return None
        task = gate["task"]
        item = one_attempt(shelf, task["dag_id"], task["run_id"], task["task_id"], task["map_index"])
        return gate_detail(shelf.store, item)

    return {
        "gate": part(read_gate, absent="No gate's report is in the records of its run."),
        "signature": part(lambda: signature_of(shelf.store, record), absent=""),
        "feature_view": part(lambda: feature_view_of(shelf.store, record), absent=""),
    }


def _registered_long_ago(
    shelf: Shelf, record: ModelVersion, gates: dict[tuple[str, str], Any], may_read: Callable[[str], bool]
) -> Mapping[str, Any] | None:
    """Return the row of a version whose run is not among the newest, and enter that run's gates."""
    dag, run = record.made_by.get("dag", ""), record.made_by.get("run", "")
    if not (dag and run and may_read(dag)):
        return None
    try:
        summary = shelf.summary(dag, run)
    except (AirflowMLError, OSError):
        return None  # the run's own page says what is wrong with it
    gates.update(((dag, run), row) for row in summary.gates if row["kind"] == "model")
    return next(
        (row for row in summary.versions if (row["model"], row["version"]) == (record.name, record.version)), None
    )


def _no_details() -> dict[str, Any]:
    nothing = {"state": ABSENT, "reason": f"Only the newest {_DETAILED} versions are read in full."}
    return {"gate": nothing, "signature": nothing, "feature_view": nothing}


def _promotion(state: RolloutState) -> dict[str, Any]:
    ended_at = state.last_look.at if state.last_look is not None else state.started_at
    return {
        "epoch": state.epoch,
        "outcome": state.state,
        "cause": state.cause,
        "reason": state.reason,
        "champion": version_of(state.champion),
        "challenger": versions_of(state),
        "started_at": format_time(state.started_at),
        "ended_at": format_time(ended_at) if state.state in ENDS else None,
        "owner": owner_of(state),
        "actions": [action_row(act) for act in reversed(state.acts)],
    }


def _oldest_first(rows: Any) -> list[Mapping[str, Any]]:
    return sorted(rows, key=lambda row: str(row["at"]))
