"""Stage 4, sweep: a search space, its trials and the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.call import FunctionRef
from airflow_ml.core.record import JSON, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialSummary:
    """One trial in short."""

    trial: str
    group: str
    params: Mapping[str, JSON]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepPlan(Record):
    """All trials of a sweep, fixed before the first one runs. A pure function of the sweep's arguments.

    Schema 2: ``groups`` is their number, the names are in the plan's file.
    """

    schema: ClassVar[int] = 2

    #: The sweep's identity: function, data, space, groups, seed.
    sweep: str
    function: FunctionRef
    #: The FeatureSet in wire form, without addresses.
    data: Mapping[str, JSON]
    #: Column of the feature set that makes the groups; None for one group named ``all``.
    by: str | None
    groups: int
    trials: int
    shards: int
    metric: str
    #: ``minimize`` or ``maximize``.
    direction: str
    seed: int
    timeout_seconds: float
    min_success_fraction: float
    #: Rows of a group that a trial fits on at most; None for all.
    max_train_rows: int | None
    #: The trials themselves: JSON lines of ``{"trial", "group", "shard", "params", "seed"}``, sorted by trial.
    plan: Artifact
    #: Argument names are ``data``, ``params``, ``trial``; further constant arguments of the function.
    constants: Mapping[str, JSON] = field(default_factory=dict)
    compute: str = "local"
    #: The search space in wire form, for samplers that choose while the sweep runs.
    space: Mapping[str, JSON] = field(default_factory=dict)
    #: Name of a sampler, or of a class of Optuna, and the arguments of that class.
    sampler: str = "random"
    sampler_options: Mapping[str, JSON] = field(default_factory=dict)
    pruner: str | None = None
    pruner_options: Mapping[str, JSON] = field(default_factory=dict)
    #: Trials of a group that are chosen together, from the results of the batches before, and run side by side.
    batch_size: int = 1
    #: Further metrics that the sampler looks at, each with its direction; ``metric`` alone decides.
    also: Mapping[str, str] = field(default_factory=dict)
    #: Models of each group's best trials that are stored.
    keep_top: int = 0

    @property
    def objectives(self) -> dict[str, str]:
        """The metrics with their directions, the one that decides first."""
        return {self.metric: self.direction, **self.also}

    @classmethod
    def upgrade(cls, data: dict[str, Any], number: int) -> dict[str, Any]:
        """Read schema 1, which named the groups."""
        return {**data, "groups": len(data["groups"])} if number == 1 else data


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard(Record):
    """The result of every trial of a sweep, best first within its group, as a Parquet artifact.

    Columns: ``group, trial, status, value, seconds, seed, reason, metrics, params`` (the last two as JSON text), with
    ``keep_top`` also ``model`` (the artifact of a kept model as JSON text, null for the others), and one
    ``param_<name>`` column for each parameter, null where a trial does not have it. With several objectives also
    ``pareto``: whether no other trial of the group is better in one objective and at least as good in the others.
    """

    incidental: ClassVar[frozenset[str]] = frozenset({"seconds", "report"})

    sweep: str
    function: FunctionRef
    #: The FeatureSet in wire form, without addresses.
    data: Mapping[str, JSON]
    by: str | None
    #: Parquet says its columns itself; they are not repeated here.
    artifact: Artifact
    trials: int
    succeeded: int
    failed: int
    #: Groups in which no trial succeeded, by name (at most 10 of them).
    groups_without_success: tuple[str, ...]
    groups: int
    metric: str
    direction: str
    best: TrialSummary
    seed: int
    seconds: float
    constants: Mapping[str, JSON] = field(default_factory=dict)
    compute: str = "local"
    #: Rows of a group that a trial fitted on at most; None for all.
    max_train_rows: int | None = None
    parents: tuple[str, ...] = ()
    #: Trials that their pruner ended: neither good nor bad.
    pruned: int = 0
    #: Trials that were not begun, because nearly all before them failed alike.
    not_run: int = 0
    #: Further objectives with their directions.
    also: Mapping[str, str] = field(default_factory=dict)
    #: JSON ``{"importance": {parameter: share}, "pictures": {"importance" | "slices" | "parallel_coordinates": PNG}}``;
    #: None where it was not asked for, or its libraries are not installed.
    report: Artifact | None = None
