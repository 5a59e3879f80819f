"""One trial of a finished sweep, again: the same worker code on the same function, data, parameters and seed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.sweep import SweepPlan
from airflow_ml.runtime.context import current
from airflow_ml.runtime.cpus import limit_threads
from airflow_ml.runtime.load import load_function


def repeat_trial(plan: SweepPlan, trial: Mapping[str, JSON], threads: int) -> dict[str, Any]:
    """Run one trial in this worker and return its metrics, or why it failed.

    Args:
        plan: The sweep.
        trial: The planned trial, with the parameters that it ran with.
        threads: Of numerical libraries; results agree to the last bit with the same number only.
    """
    from airflow_ml.runtime.trial import TrialRunner

    limit_threads(os.environ, threads)  # before the user's libraries are loaded, as a shard does
    store = current().store
    path = store.path(Artifact.from_dict(plan.data["artifact"]))  # type: ignore[arg-type]  # a FeatureSet's wire form
    answer = TrialRunner(plan, partial(load_function, plan.function, store), path)(trial)
    return {
        "status": answer.get("status", "succeeded"),
        "metrics": answer.get("metrics", {}),
        "reason": answer.get("reason", ""),
        "traceback": answer.get("traceback", ""),
    }


def trial_target(
    plan: SweepPlan, trial: Mapping[str, JSON], store: ArtifactStore
) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return a sweep's function and the arguments of one trial, to be called under a debugger."""
    from airflow_ml.core.features import FeatureSet
    from airflow_ml.core.trials import PlannedTrial
    from airflow_ml.runtime.data import Data
    from airflow_ml.runtime.trial import Trial, accepts

    planned = PlannedTrial.from_dict(trial)
    features = FeatureSet.from_dict(plan.data)
    data = Data(
        store.path(features.artifact),
        features,
        group=None if plan.by is None else (plan.by, planned.group),
        max_train_rows=plan.max_train_rows,
        seed=plan.seed,
    )
    function = load_function(plan.function, store)
    given: dict[str, Any] = {**plan.constants, "data": data, "params": dict(planned.params)}
    if accepts(function, "trial"):
        given["trial"] = Trial(planned.trial, planned.group, planned.seed)
    return function, given
