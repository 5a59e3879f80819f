"""Machine learning on the Airflow you already run.

Eight stages, each a function that builds an operator, each taking the record before and returning the next:

    snapshot        a table or query at one instant                     DatasetSnapshot
    gate_dataset    data through Great Expectations                     (passes its subject on) GateReport
    build_features  a FeatureView over a spine, point in time           FeatureSet
    @task.sweep     a search space times groups                         Leaderboard
    select_model    the winner of each group, refitted                  Selection
    gate_model      behavioural checks on the sealed holdout            (passes its subject on) GateReport
    register_model  a version in MLflow with its provenance             ModelVersion
    canary          promotion by traffic, with valid statistics         Rollout
    predict         batch scores in the warehouse                       ScoreTable
    monitor         drift and live error                                DriftReport

`load` turns any of their outputs into its record in a plain task, `read` into the data it stands for. Everything is
imported on first use: importing this package, and parsing a DAG file that uses it, loads none of the heavy libraries.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

#: Public name -> module that defines it.
_HOME = {
    "ABTestOperator": "airflow_ml.operators.ab_test",
    "AsOf": "airflow_ml.core.feature_view",
    "Artifact": "airflow_ml.core.artifact",
    "BeatsBaseline": "airflow_ml.core.model_checks",
    "BuildFeaturesOperator": "airflow_ml.operators.features",
    "CallJobOperator": "airflow_ml.operators.call_job",
    "CallResults": "airflow_ml.core.call",
    "CanaryOperator": "airflow_ml.operators.canary",
    "Choice": "airflow_ml.core.space",
    "DatasetSnapshot": "airflow_ml.core.snapshot",
    "DriftReport": "airflow_ml.core.monitoring",
    "FeatureSet": "airflow_ml.core.features",
    "FeatureView": "airflow_ml.core.feature_view",
    "GateDatasetOperator": "airflow_ml.operators.gate",
    "GateModelOperator": "airflow_ml.operators.gate_model",
    "GateReport": "airflow_ml.core.gate",
    "GpuPodOperator": "airflow_ml.operators.gpu_pod",
    "GpuRetryPolicy": "airflow_ml.retry",
    "Input": "airflow_ml.core.feature_view",
    "IntUniform": "airflow_ml.core.space",
    "Label": "airflow_ml.core.feature_view",
    "Leaderboard": "airflow_ml.core.sweep",
    "LogUniform": "airflow_ml.core.space",
    "Lookup": "airflow_ml.core.feature_view",
    "MinMetric": "airflow_ml.core.model_checks",
    "ModelVersion": "airflow_ml.core.registration",
    "MonitorOperator": "airflow_ml.operators.monitoring",
    "NotWorseThanChampion": "airflow_ml.core.model_checks",
    "PredictOperator": "airflow_ml.operators.prediction",
    "PrometheusQueries": "airflow_ml.core.metric_series",
    "PrometheusSums": "airflow_ml.core.metric_series",
    "Reading": "airflow_ml.core.ports",
    "ReapJobsOperator": "airflow_ml.operators.reaping",
    "ReconcileRolloutsOperator": "airflow_ml.operators.reconciliation",
    "RegisterModelOperator": "airflow_ml.operators.registration",
    "RollbackOperator": "airflow_ml.operators.rollback",
    "Rolling": "airflow_ml.core.feature_view",
    "Rollout": "airflow_ml.core.canary",
    "Rows": "airflow_ml.runtime.rows",
    "ScoreTable": "airflow_ml.core.monitoring",
    "ShadowOperator": "airflow_ml.operators.ab_test",
    "SelectModelOperator": "airflow_ml.operators.selection",
    "Sample": "airflow_ml.core.ports",
    "Selection": "airflow_ml.core.selection",
    "SliceMetric": "airflow_ml.core.model_checks",
    "SnapshotDatasetOperator": "airflow_ml.operators.snapshot",
    "SqlOutcomes": "airflow_ml.core.metric_query",
    "TimeSplit": "airflow_ml.core.time_split",
    "Uniform": "airflow_ml.core.space",
    "When": "airflow_ml.core.space",
    "ab_test": "airflow_ml.operators.ab_test",
    "build_features": "airflow_ml.operators.features",
    "call_job": "airflow_ml.operators.call_job",
    "canary": "airflow_ml.operators.canary",
    "gate_dataset": "airflow_ml.operators.gate",
    "gate_model": "airflow_ml.operators.gate_model",
    "monitor": "airflow_ml.operators.monitoring",
    "predict": "airflow_ml.operators.prediction",
    "profile": "airflow_ml.core.compute",
    "read": "airflow_ml.reading",
    "reap_jobs": "airflow_ml.operators.reaping",
    "reconcile_rollouts": "airflow_ml.operators.reconciliation",
    "register_model": "airflow_ml.operators.registration",
    "rollback": "airflow_ml.operators.rollback",
    "runs": "airflow_ml.client",
    "select_model": "airflow_ml.operators.selection",
    "shadow": "airflow_ml.operators.ab_test",
    "snapshot": "airflow_ml.operators.snapshot",
    "sweep": "airflow_ml.decorators.sweep",
}

__all__ = ["__version__", "load", *sorted(_HOME)]

if TYPE_CHECKING:
    # For type checkers and editors; at run time a name is imported on first use.
    from airflow_ml.client import runs as runs
    from airflow_ml.core.artifact import Artifact as Artifact
    from airflow_ml.core.call import CallResults as CallResults
    from airflow_ml.core.canary import Rollout as Rollout
    from airflow_ml.core.compute import profile as profile
    from airflow_ml.core.feature_view import AsOf as AsOf
    from airflow_ml.core.feature_view import FeatureView as FeatureView
    from airflow_ml.core.feature_view import Input as Input
    from airflow_ml.core.feature_view import Label as Label
    from airflow_ml.core.feature_view import Lookup as Lookup
    from airflow_ml.core.feature_view import Rolling as Rolling
    from airflow_ml.core.features import FeatureSet as FeatureSet
    from airflow_ml.core.gate import GateReport as GateReport
    from airflow_ml.core.metric_query import SqlOutcomes as SqlOutcomes
    from airflow_ml.core.metric_series import PrometheusQueries as PrometheusQueries
    from airflow_ml.core.metric_series import PrometheusSums as PrometheusSums
    from airflow_ml.core.model_checks import BeatsBaseline as BeatsBaseline
    from airflow_ml.core.model_checks import MinMetric as MinMetric
    from airflow_ml.core.model_checks import NotWorseThanChampion as NotWorseThanChampion
    from airflow_ml.core.model_checks import SliceMetric as SliceMetric
    from airflow_ml.core.monitoring import DriftReport as DriftReport
    from airflow_ml.core.monitoring import ScoreTable as ScoreTable
    from airflow_ml.core.ports import Reading as Reading
    from airflow_ml.core.ports import Sample as Sample
    from airflow_ml.core.record import Record
    from airflow_ml.core.registration import ModelVersion as ModelVersion
    from airflow_ml.core.selection import Selection as Selection
    from airflow_ml.core.snapshot import DatasetSnapshot as DatasetSnapshot
    from airflow_ml.core.space import Choice as Choice
    from airflow_ml.core.space import IntUniform as IntUniform
    from airflow_ml.core.space import LogUniform as LogUniform
    from airflow_ml.core.space import Uniform as Uniform
    from airflow_ml.core.space import When as When
    from airflow_ml.core.sweep import Leaderboard as Leaderboard
    from airflow_ml.core.time_split import TimeSplit as TimeSplit
    from airflow_ml.decorators.sweep import sweep as sweep
    from airflow_ml.operators.ab_test import ABTestOperator as ABTestOperator
    from airflow_ml.operators.ab_test import ShadowOperator as ShadowOperator
    from airflow_ml.operators.ab_test import ab_test as ab_test
    from airflow_ml.operators.ab_test import shadow as shadow
    from airflow_ml.operators.call_job import CallJobOperator as CallJobOperator
    from airflow_ml.operators.call_job import call_job as call_job
    from airflow_ml.operators.canary import CanaryOperator as CanaryOperator
    from airflow_ml.operators.canary import canary as canary
    from airflow_ml.operators.features import BuildFeaturesOperator as BuildFeaturesOperator
    from airflow_ml.operators.features import build_features as build_features
    from airflow_ml.operators.gate import GateDatasetOperator as GateDatasetOperator
    from airflow_ml.operators.gate import gate_dataset as gate_dataset
    from airflow_ml.operators.gate_model import GateModelOperator as GateModelOperator
    from airflow_ml.operators.gate_model import gate_model as gate_model
    from airflow_ml.operators.gpu_pod import GpuPodOperator as GpuPodOperator
    from airflow_ml.operators.monitoring import MonitorOperator as MonitorOperator
    from airflow_ml.operators.monitoring import monitor as monitor
    from airflow_ml.operators.prediction import PredictOperator as PredictOperator
    from airflow_ml.operators.prediction import predict as predict
    from airflow_ml.operators.reaping import ReapJobsOperator as ReapJobsOperator
    from airflow_ml.operators.reaping import reap_jobs as reap_jobs
    from airflow_ml.operators.reconciliation import ReconcileRolloutsOperator as ReconcileRolloutsOperator
    from airflow_ml.operators.reconciliation import reconcile_rollouts as reconcile_rollouts
    from airflow_ml.operators.registration import RegisterModelOperator as RegisterModelOperator
    from airflow_ml.operators.registration import register_model as register_model
    from airflow_ml.operators.rollback import RollbackOperator as RollbackOperator
    from airflow_ml.operators.rollback import rollback as rollback
    from airflow_ml.operators.selection import SelectModelOperator as SelectModelOperator
    from airflow_ml.operators.selection import select_model as select_model
    from airflow_ml.operators.snapshot import SnapshotDatasetOperator as SnapshotDatasetOperator
    from airflow_ml.operators.snapshot import snapshot as snapshot
    from airflow_ml.reading import read as read
    from airflow_ml.retry import GpuRetryPolicy as GpuRetryPolicy
    from airflow_ml.runtime.rows import Rows as Rows


def load(value: Any) -> Record:
    """Return the record that an airflow_ml task gave to a plain task, or that one named like ``dag/task@run`` made.

    Args:
        value: The record in wire form; or text such as ``flight_delays_train/features@latest``, which is looked up in
            the store of ``AIRFLOW__ML__ARTIFACT_STORE`` (the run as in `airflow_ml.client.find_run`).

    Raises:
        NotARecord: it is none.
        RecordTooNew: a newer airflow_ml wrote it.
        ArtifactNotFound: no such run, task or output.
    """
    if isinstance(value, str):
        from airflow_ml.client import find_output

        return find_output(value)
    from airflow_ml.core.record import parse

    return parse(value)


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
