"""What a sweep of several objectives weighs: the trials that no other beats, and what the sweep itself has drawn."""

from __future__ import annotations

from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import SUCCEEDED
from airflow_ml.errors import DataTooLarge
from airflow_ml.plugin.views.board import Sweep, find_sweep
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.shelf import Shelf

#: Trials of the front that a page names, and of each of its further metrics.
FRONT = 200
_PICTURE_BYTES = 4 * 1024 * 1024


def objectives_of(plan: SweepPlan) -> list[dict[str, str]]:
    """Return the metrics that a sweep looks at, the one that decides first."""
    return [{"metric": metric, "direction": direction} for metric, direction in plan.objectives.items()]


def front_of(table: Any, plan: SweepPlan) -> list[dict[str, Any]]:
    """Return the trials that no other of their group beats, best first by the metric that decides; at most 200.

    Args:
        table: The leaderboard, with a column for each metric.
        plan: The sweep's plan; one objective has no front.
    """
    import pyarrow.compute as pc

    if not plan.also or "pareto" not in table.column_names:
        return []
    found = table.filter(pc.and_(table.column("pareto"), pc.equal(table.column("status"), SUCCEEDED)))
    order = "ascending" if plan.direction == "minimize" else "descending"
    found = found.take(pc.sort_indices(found, sort_keys=[("value", order), ("trial", "ascending")]).slice(0, FRONT))
    values = [_column(found, f"metric_{name}") for name in plan.objectives]
    names = zip(found.column("trial").to_pylist(), found.column("group").to_pylist(), strict=True)
    return [
        {"trial": trial, "group": group, "values": [column[at] for column in values]}
        for at, (trial, group) in enumerate(names)
    ]


def also_of(chosen: Any, plan: SweepPlan) -> list[list[float | None]]:
    """Return the further objectives of chosen trials, one list for each."""
    return [_column(chosen, f"metric_{name}") for name in plan.also]


def pictures_of(store: ArtifactStore, sweep: Sweep) -> list[str] | None:
    """Return the names of the pictures that the sweep's task has drawn; None where it has drawn none.

    Raises:
        ArtifactNotFound, ArtifactCorrupt: the store has lost its report.
    """
    return sorted(_pictures(store, sweep)) or None


def picture(shelf: Shelf, dag: str, run: str, task: str, name: str) -> bytes:
    """Return one of them, a PNG.

    Raises:
        NotHere: the sweep has no such picture.
        ArtifactNotFound, ArtifactCorrupt: the store has lost it.
        DataTooLarge: it is too large for a page.
    """
    sweep = find_sweep(shelf, dag, run, task)
    found = _pictures(shelf.store, sweep).get(name)
    if found is None:
        raise NotHere(f"The sweep has no picture {name}")
    if found.size_bytes > _PICTURE_BYTES:
        raise DataTooLarge("The picture is too large for a page", f"{found.size_bytes:,} bytes", "Use airflow_ml.load.")
    return shelf.store.get_bytes(found)


def _pictures(store: ArtifactStore, sweep: Sweep) -> dict[str, Artifact]:
    from airflow_ml.plugin.views.documents import read_json

    board = sweep.leaderboard
    report = read_json(store, board.report) if board is not None and board.report is not None else None
    wires = report.get("pictures") if isinstance(report, dict) else None
    pictures = {str(name): Artifact.from_dict(wire) for name, wire in wires.items()} if isinstance(wires, dict) else {}
    return {name: found for name, found in pictures.items() if found.format == "png"}


def _column(table: Any, name: str) -> list[Any]:
    return table.column(name).to_pylist() if name in table.column_names else [None] * table.num_rows
