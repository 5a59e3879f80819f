"""One trial inside of a worker: call the user's function and judge what it returned."""

from __future__ import annotations

import copy
import inspect
import math
import numbers
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from airflow_ml.core.features import FeatureSet
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.core.trials import PRUNED, PlannedTrial
from airflow_ml.runtime.checkpoint import Checkpoint
from airflow_ml.runtime.kept_models import KeptModels
from airflow_ml.runtime.study import StudyTrial
from airflow_ml.runtime.worker import describe, last_frames, note, seed_everything

#: Reported values that are kept of one trial.
MAX_REPORTS = 1000
#: Metrics of one trial, and characters of a metric's name: what MLflow takes.
MAX_METRICS, MAX_NAME = 1000, 250


class Trial:
    """What a training function may know of its trial, as its argument ``trial``.

    Attributes:
        id: The trial's name within its sweep, such as ``t00042``.
        group: The value of the sweep's ``by`` column, ``all`` without one.
        seed: For ``random_state`` and the like; Python's and numpy's own generators are seeded with it already.
    """

    def __init__(
        self, id: str, group: str, seed: int, study: StudyTrial | None = None, kept: Checkpoint | None = None
    ) -> None:
        self.id = id
        self.group = group
        self.seed = seed
        self.pruned = False
        self._study = study
        self._kept = kept
        self._folder: Path | None = None
        self._reports: list[tuple[float, float]] = []

    @property
    def checkpoint_dir(self) -> Path:
        """A folder whose content the next try of this trial finds again, if this one is killed or fails.

        It is put into the store at most every 60 seconds (variable ``AIRFLOW_ML_CHECKPOINT_SECONDS``), and when the
        process is told to end. Write a file under another name and rename it: what is half written never counts.
        Outside of a sweep it is an empty temporary folder.
        """
        if self._kept is not None:
            return self._kept.folder
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="airflow-ml-checkpoint-"))
        return self._folder

    def report(self, step: float, value: float) -> None:
        """Record an intermediate value of the metric; the first 1,000 finite ones are kept.

        Args:
            step: How far the training is; with a pruner a whole number from 0 on.
            value: Of the metric that decides.

        Raises:
            ConfigurationError: with a pruner, a step that is not a whole number.
        """
        number = _number(value)
        if self._study is not None and number is not None:
            self._study.report(step, number)
        if number is not None and math.isfinite(number) and len(self._reports) < MAX_REPORTS:
            self._reports.append((float(step), number))

    def should_prune(self) -> bool:
        """Whether the sweep's pruner sees no hope after the last report; always False without a pruner.

        A function that is told True returns at once, whatever it returns: its trial is ``pruned`` and never chosen.
        """
        if self._study is not None and not self.pruned:
            self.pruned = self._study.should_prune()
        return self.pruned

    def log(self, text: object) -> None:
        """Write a line to the task's log."""
        print(text, flush=True)  # noqa: T201 - a worker's standard output is the log

    @property
    def reports(self) -> list[tuple[float, float]]:
        """What was reported, in order."""
        return list(self._reports)


class TrialRunner:
    """Runs trials of one plan in a worker; loads the function once, and each group's data once.

    Args:
        plan: The sweep.
        load: Returns the user's function; called in the worker.
        path: The feature set's Parquet file.
        kept: Keeps the best models; None for none.
        open_store: Opens the store of checkpoints; None for none.
    """

    def __init__(
        self,
        plan: SweepPlan,
        load: Callable[[], Callable[..., Any]],
        path: Path,
        kept: KeptModels | None = None,
        open_store: Callable[[], ArtifactStore] | None = None,
    ) -> None:
        self._kept = kept
        self._plan = plan
        self._open_store = open_store
        self._load = load
        self._path = path
        self._function: Callable[..., Any] | None = None
        self._takes_trial = False
        self._data: tuple[str, Any] | None = None

    def __call__(self, payload: Mapping[str, Any]) -> dict[str, Any]:
        """Run one trial and return its metrics, or why it failed."""
        planned = PlannedTrial.from_dict(payload)
        checkpoint = self._checkpoint(planned)
        trial = Trial(planned.trial, planned.group, planned.seed, kept=checkpoint)
        study: StudyTrial | None = None
        params = dict(planned.params)
        try:
            if "history" in payload:
                study = StudyTrial(self._plan, planned, payload["history"], payload.get("position"))
                trial = Trial(planned.trial, planned.group, planned.seed, study, checkpoint)
                params = study.params
                note(params=params, notes=study.notes)
            if self._function is None:
                self._function = self._load()
                self._takes_trial = accepts(self._function, "trial")
            data = self._group(planned.group)
            seed_everything(planned.seed)
            # What a trial does to a constant, no other one sees.
            given: dict[str, Any] = {**copy.deepcopy(dict(self._plan.constants)), "data": data, "params": params}
            if self._takes_trial:
                given["trial"] = trial
            returned = self._function(**given)
            metrics = read_metrics(returned, self._plan.metric)
            facts = self._keep(returned, metrics, planned) if not trial.pruned else {}
            if checkpoint is not None:
                checkpoint.close(succeeded=True)
        except BaseException as error:
            if checkpoint is not None:
                checkpoint.close(succeeded=is_pruned(error))
            if not is_pruned(error):
                failed = {"status": "failed", "reason": describe(error), "traceback": last_frames(error)}
                return {**failed, "reports": trial.reports}
            trial.pruned, metrics, facts = True, {}, {}
        facts |= {"reports": trial.reports, **({"notes": study.notes} if study is not None else {})}
        too_much = check_size(metrics)
        numbers_only = {} if too_much else {name: value for name, value in metrics.items() if _finite(value)}
        if trial.pruned:
            reason = f"pruned after {len(trial.reports)} reports"
            return {"status": PRUNED, "reason": reason, "metrics": numbers_only, **facts}
        problem = too_much or next(filter(None, (check_metric(metrics, name) for name in self._plan.objectives)), "")
        status = {"status": "failed", "reason": problem} if problem else {}
        return {**status, "metrics": numbers_only, **facts}

    def _keep(self, returned: object, metrics: Mapping[str, Any], planned: PlannedTrial) -> dict[str, Any]:
        """Store the model of a success, if it is one of the best."""
        value = metrics.get(self._plan.metric)
        if self._kept is None or value is None or not _finite(value):
            return {}
        model = self._kept.keep(returned, group=planned.group, trial=planned.trial, value=float(value))
        return {"model": model} if model else {}

    def _checkpoint(self, planned: PlannedTrial) -> Checkpoint | None:
        if self._open_store is None:
            return None
        return Checkpoint(self._open_store, f"checkpoints/{self._plan.sweep.partition(':')[2]}/{planned.trial}")

    def _group(self, group: str) -> Any:
        from airflow_ml.runtime.data import Data

        if self._data is None or self._data[0] != group:
            features = FeatureSet.from_dict(self._plan.data)
            by = None if self._plan.by is None else (self._plan.by, group)
            limit, seed = self._plan.max_train_rows, self._plan.seed
            # Every trial of a group fits on the same sample, so that they differ by their parameters only.
            data = Data(self._path, features, group=by, max_train_rows=limit, seed=seed)
            self._data = (group, data)
        return self._data[1]


def is_pruned(error: BaseException) -> bool:
    """Whether a function ended as Optuna's own examples do, by raising ``optuna.TrialPruned``."""
    return type(error).__name__ == "TrialPruned" and type(error).__module__.partition(".")[0] == "optuna"


def accepts(function: Callable[..., Any], name: str) -> bool:
    """Whether a function takes an argument of that name."""
    parameters = inspect.signature(function).parameters
    return name in parameters or any(item.kind is item.VAR_KEYWORD for item in parameters.values())


def read_metrics(returned: object, metric: str) -> dict[str, Any]:
    """Return the metrics in what a training function returned: a number, a dict, or either with a model.

    The values are not judged here. A number is the sweep's metric.
    """
    found, other = returned if isinstance(returned, tuple) and len(returned) == 2 else (returned, None)
    if not isinstance(found, Mapping) and _number(found) is None and (isinstance(other, Mapping) or _number(other)):
        return {metric: _Swapped(found)}
    if isinstance(found, Mapping):
        return {_as_text(name): _number(value, value) for name, value in found.items()}
    return {metric: _number(found, found)}


class _Swapped:
    """Stands for a model where the metrics should be."""

    def __init__(self, found: object) -> None:
        self._kind = type(found).__name__

    def __repr__(self) -> str:
        return f"{self._kind}, and the metrics come second: return (metrics, model)"


def check_size(metrics: Mapping[str, Any]) -> str:
    """Return in what way these are more metrics than a leaderboard can hold, or nothing."""
    if len(metrics) > MAX_METRICS:
        return f"it returned {len(metrics)} metrics, a trial has at most {MAX_METRICS}: return a summary"
    longest = max(metrics, key=len, default="")
    if len(longest) > MAX_NAME:
        return f"the name of a metric has {len(longest)} characters, at most {MAX_NAME} are kept: {longest[:40]}..."
    return ""


def check_metric(metrics: Mapping[str, Any], metric: str) -> str:
    """Return what is wrong with the metric that decides, or nothing."""
    if metric not in metrics:
        return f"metric {metric!r} was not returned; returned: {', '.join(sorted(metrics))[:300] or 'nothing'}"
    if not _finite(metrics[metric]):
        shown = metrics[metric]
        text = str(shown) if isinstance(shown, float) else repr(shown)
        return f"metric is not a finite number: {_as_text(text[:100])}"
    return ""


def _finite(value: object) -> bool:
    return isinstance(value, float) and math.isfinite(value)


def _number(value: Any, otherwise: Any = None) -> Any:
    """Return a real number, or an array of exactly one, as float."""
    if isinstance(value, bool):
        return otherwise
    if isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            return otherwise
    if getattr(value, "shape", None) == () and hasattr(value, "item"):  # a number in an array without dimensions
        return _number(value.item(), otherwise)
    return otherwise


def _as_text(value: object) -> str:
    """Return a value as text that can be written down."""
    return str(value).encode("utf-8", "replace").decode()
