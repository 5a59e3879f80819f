"""One run of a line, stage by stage, and what differs from another one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.provenance import FAILED, SKIPPED, SUCCEEDED, Provenance
from airflow_ml.core.run_diff import diff_runs
from airflow_ml.plugin.views.figures import told_by
from airflow_ml.plugin.views.records import brief, stage_kind
from airflow_ml.plugin.views.shelf import Head, Shelf

#: Earlier runs that are offered for a comparison.
_EARLIER = 10
#: Artifacts and records that a stage names.
_OUTPUTS = 20


def run_list(shelf: Shelf, dag: str, *, limit: int, offset: int) -> dict[str, Any]:
    """Return the runs of a DAG that the store knows, newest first."""
    heads = shelf.heads(dag)
    return {"dag_id": dag, "total": len(heads), "runs": [_row(head) for head in heads[offset : offset + limit]]}


def run_view(shelf: Shelf, dag: str, run: str) -> dict[str, Any]:
    """Return one run.

    Raises:
        NotHere: the store has none.
    """
    head = shelf.run(dag, run)
    attempts, lost = shelf.attempts(dag, run)
    first = attempts[0] if attempts else None
    earlier = [one for one in shelf.heads(dag) if (one.started_at, one.run) < (head.started_at, run)]
    return {
        "dag_id": dag,
        "run_id": run,
        "started_at": format_time(head.started_at),
        "triggered_by": head.triggered_by,
        "commit": first.git.commit if first else "",
        "dirty": first.git.dirty if first else "",
        "params": dict(first.params) if first else {},
        "stages": _stages(attempts),
        "unreadable": [{"task": one.task, "reason": one.reason} for one in lost],
        "earlier": [_row(one) for one in earlier[:_EARLIER]],
    }


def run_diff(shelf: Shelf, dag: str, run: str, with_run: str) -> dict[str, Any]:
    """Return what changed from one run to another, ranked.

    Raises:
        NotHere: the store lacks one of them.
    """
    found = []
    for one in (with_run, run):
        shelf.run(dag, one)
        found.append(shelf.attempts(dag, one)[0])
    changes = diff_runs(*found)
    return {
        "dag_id": dag,
        "run_id": run,
        "with_run_id": with_run,
        "changes": [{"kind": one.kind, "task": one.task, "what": one.what} for one in changes],
    }


def _row(head: Head) -> dict[str, Any]:
    return {"run_id": head.run, "started_at": format_time(head.started_at), "triggered_by": head.triggered_by}


def _stages(attempts: Sequence[Provenance]) -> list[dict[str, Any]]:
    by_task = sorted(attempts, key=lambda item: (item.task, item.map_index))
    stages = [_stage(list(items)) for _, items in groupby(by_task, key=lambda item: item.task)]
    return sorted(stages, key=lambda stage: (stage["started_at"], stage["task_id"]))


def _stage(items: Sequence[Provenance]) -> dict[str, Any]:
    """Return one task; a mapped one stands for all of its instances, and a failed one speaks for them."""
    failed = [item for item in items if item.outcome == FAILED]
    speaker = (failed or items)[0]
    verdict, sentence, figures = told_by(speaker)
    started, ended = min(item.started_at for item in items), max(item.ended_at for item in items)
    caches = {item.cache for item in items}
    skipped = all(item.outcome == SKIPPED for item in items)
    return {
        "kind": stage_kind(speaker),
        "task_id": speaker.task,
        "map_index": speaker.map_index,
        "instances": len(items),
        "operator": speaker.operator,
        "outcome": FAILED if failed else SKIPPED if skipped else SUCCEEDED,
        "failed_instances": len(failed),
        "started_at": format_time(started),
        "ended_at": format_time(ended),
        "seconds": (ended - started).total_seconds(),
        "cache": "miss" if "miss" in caches else "hit" if "hit" in caches else "",
        "verdict": verdict,
        "sentence": sentence[:500],
        "figures": figures,
        "outputs": [brief(handle) for handle in [*speaker.outputs, *speaker.beside]][:_OUTPUTS],
    }
