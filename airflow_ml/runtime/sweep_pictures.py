"""Which parameters mattered in a sweep, as numbers and as pictures. Runs in a runner, never in a task's process.

Importance is PED-ANOVA (Watanabe, Bansal and Hutter 2023), the pictures are Optuna's, drawn by matplotlib. With several
groups, a trial counts by its rank within its group, so that easy and hard groups speak of the parameters alike.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, parse_as
from airflow_ml.core.space import parse_space
from airflow_ml.core.sweep import Leaderboard, SweepPlan
from airflow_ml.core.trials import SUCCEEDED
from airflow_ml.errors import MissingDependency
from airflow_ml.runtime.context import current
from airflow_ml.runtime.leaderboard import read_rows

#: Lines of the parallel coordinates: more are a grey wall.
MAX_LINES = 150
#: Points of a slice, and rows that importance is computed of.
MAX_POINTS = 2_000
_DPI = 80


def require_pictures() -> None:
    """Refuse where the libraries are missing, without importing them.

    Raises:
        MissingDependency: Optuna or matplotlib is not installed.
    """
    for package in ("optuna", "matplotlib"):
        if find_spec(package) is None:
            raise MissingDependency("Pictures of a sweep need a package", package, "Install airflow-ml[optuna,mlflow].")


def draw_sweep(plan: Mapping[str, Any], board: Mapping[str, Any]) -> dict[str, JSON]:
    """Return the report's artifact in wire form: JSON ``{"importance": {name: share}, "pictures": {name: PNG}}``.

    The pictures are ``importance``, ``slices`` (value over each parameter) and ``parallel_coordinates``. One that
    cannot be drawn, since all values are alike or there is one parameter only, is left out.

    Args:
        plan: The `SweepPlan` in wire form.
        board: The `Leaderboard` in wire form.
    """
    import matplotlib

    matplotlib.use("Agg")
    warnings.simplefilter("ignore")
    call = current()
    record, leaderboard = parse_as(SweepPlan, plan), parse_as(Leaderboard, board)
    rows = [row for row in read_rows(call.store.path(leaderboard.artifact)) if row["status"] == SUCCEEDED]
    values = _values(rows, several=leaderboard.groups > 1)
    study = _study(record, _spread(rows, MAX_POINTS), values)
    what = "rank in the group" if leaderboard.groups > 1 else leaderboard.metric
    importance = _importance(study)
    lines = _study(record, _spread(rows, MAX_LINES), values)
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as folder:
        files = _draw(study, lines, list(importance), what, importance, Path(folder))
        pictures: dict[str, JSON] = {
            name: call.store.put_file(path, format="png").to_dict() for name, path in files.items()
        }
    report: dict[str, JSON] = {"importance": dict(importance), "pictures": pictures}
    return call.store.put_bytes(json.dumps(report).encode(), format="json").to_dict()


def read_report(report: Artifact, store: ArtifactStore) -> dict[str, Any]:
    """Return a report, its pictures as `Artifact`."""
    found: dict[str, Any] = json.loads(store.get_bytes(report))
    return {**found, "pictures": {name: Artifact.from_dict(wire) for name, wire in found["pictures"].items()}}


def pictures_of(board: Leaderboard, store: ArtifactStore) -> dict[str, Path]:
    """Return the pictures of a leaderboard as local files, by the name that they should have elsewhere."""
    if board.report is None:
        return {}
    return {f"{name}.png": store.path(item) for name, item in read_report(board.report, store)["pictures"].items()}


def _values(rows: Sequence[Mapping[str, Any]], *, several: bool) -> dict[str, float]:
    """Return each trial's value; with several groups its rank in its group, from 0 (best) to 1."""
    if not several:
        return {str(row["trial"]): float(row["value"]) for row in rows}
    by_group: dict[str, list[str]] = {}
    for row in rows:  # best first within each group
        by_group.setdefault(str(row["group"]), []).append(str(row["trial"]))
    return {
        trial: place / max(1, len(trials) - 1) for trials in by_group.values() for place, trial in enumerate(trials)
    }


def _spread(rows: Sequence[Mapping[str, Any]], limit: int) -> list[Mapping[str, Any]]:
    """Return at most so many rows, evenly spread over groups and ranks."""
    step = max(1.0, len(rows) / limit)
    chosen = [rows[int(number * step)] for number in range(min(limit, len(rows)))]
    return sorted(chosen, key=lambda row: str(row["trial"]))


def _study(plan: SweepPlan, rows: Sequence[Mapping[str, Any]], values: Mapping[str, float]) -> Any:
    import optuna

    from airflow_ml.runtime.study import distributions_of

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    several = plan.groups > 1
    study = optuna.create_study(direction="minimize" if several else plan.direction)
    params = {str(row["trial"]): json.loads(row["params"]) for row in rows}
    space = parse_space(plan.space) if plan.space else None
    distributions, coded = distributions_of(space, list(params.values()))
    trials = [
        optuna.trial.create_trial(
            params=point,
            distributions={name: distributions[name] for name in point},
            value=values[trial],
        )
        for trial, point in zip(params, coded, strict=True)
    ]
    study.add_trials(trials)
    return study


def _importance(study: Any) -> dict[str, float]:
    """Return each parameter's share, the largest first; nothing where it cannot be told."""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    try:
        found = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    except (ValueError, RuntimeError) as error:
        current().log(f"No importance: {error}")
        return {}
    return {name: round(float(share), 4) for name, share in found.items()}


def _draw(
    study: Any, lines: Any, names: Sequence[str], what: str, importance: Mapping[str, float], folder: Path
) -> dict[str, Path]:
    from matplotlib import pyplot
    from optuna.visualization import matplotlib as plots
    from PIL import Image  # matplotlib needs it itself

    shown = list(names)[:8] or None  # the most important: more do not fit

    def bars() -> Any:
        _, axes = pyplot.subplots()
        ordered = sorted(importance.items(), key=lambda item: item[1])
        axes.barh([name for name, _ in ordered], [share for _, share in ordered], color="#4c72b0")
        axes.set_xlabel("share of importance (PED-ANOVA)")
        axes.set_title(f"Importance of parameters for the {what}")
        return axes

    drawings = {
        "importance": (bars, (7.0, 1.2 + 0.4 * len(importance)), bool(importance)),
        "slices": (
            lambda: plots.plot_slice(study, params=shown, target=_value, target_name=what),
            (3.2 * max(2, len(shown or ())), 3.6),
            True,
        ),
        "parallel_coordinates": (
            lambda: plots.plot_parallel_coordinate(lines, params=shown, target=_value, target_name=what),
            (1.6 * (3 + len(shown or ())), 4.5),
            True,
        ),
    }
    made: dict[str, Path] = {}
    for name, (draw, size, wanted) in drawings.items():
        if not wanted:
            continue
        try:
            drawn = draw()
            figure = (drawn.flat[0] if hasattr(drawn, "flat") else drawn).figure
            figure.set_size_inches(*size)
            figure.savefig(folder / f"{name}.png", dpi=_DPI, bbox_inches="tight")
            with Image.open(folder / f"{name}.png") as picture:  # 128 colours are a third of the bytes
                picture.convert("RGB").quantize(128).save(folder / f"{name}.png", optimize=True)
            made[name] = folder / f"{name}.png"
        except Exception as error:  # one missing picture must not cost the others
            current().log(f"No picture {name}: {type(error).__name__}: {error}")
        finally:
            pyplot.close("all")
    return made


def _value(trial: Any) -> float:
    return float(trial.value)
