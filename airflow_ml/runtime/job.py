"""What the runner is asked to do with a sweep, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_ml.core.record import Record
from airflow_ml.core.sweep import SweepPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardJob(Record):
    """The trials of one shard of a plan: what one task instance, pod or Batch child runs."""

    plan: SweepPlan
    #: 0 to ``plan.shards - 1``.
    shard: int
    #: Processes that run trials side by side; None for as many as there are CPUs.
    workers: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(Record):
    """How far a shard is."""

    shard: int
    trials: int
    #: Trials with a result, of whatever kind, including those of an earlier attempt.
    finished: int
    failed: int
    #: Best value of the sweep's metric so far.
    best: float | None
    seconds: float
    #: Seconds that the rest will take at the speed so far; None while nothing has ended.
    eta_seconds: float | None = None
    pruned: int = 0
    #: The group that the best value is of.
    best_group: str = ""
    #: Groups of the shard, and those of which all trials are finished.
    groups: int = 0
    groups_done: int = 0
    #: Groups that were finished since the last message (at most ten), each with its best value.
    just_done: Mapping[str, float | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOutcome(Record):
    """The outcome of a shard. The results themselves are in the store."""

    sweep: str
    shard: int
    trials: int
    succeeded: int
    failed: int
    #: Trials that this attempt ran; the others had a result before.
    ran: int
    #: Trials that this attempt ran although somebody else committed them first; theirs count.
    superseded: int
    best: float | None
    workers: int
    seconds: float
    pruned: int = 0
    #: Why trials were not begun: nearly all before them failed alike. Empty where all have a result.
    stopped: str = ""
