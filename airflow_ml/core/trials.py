"""The trials of a sweep: which there are, in which shard each runs, and what each came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self, cast

from airflow_ml.core.fingerprint import canonical_json, digest_json, seed_of
from airflow_ml.core.point import draw, existing, grid
from airflow_ml.core.record import JSON, decode, encode
from airflow_ml.core.sampler import GRID, LISTED, PLANNED, RANDOM, in_sequence
from airflow_ml.core.space import Distribution, parse_space, space_to_dict
from airflow_ml.errors import InvalidSpace

#: The one group of a sweep without groups.
ALL = "all"
#: How a trial ended. ``killed`` is a crash of its process (segmentation fault, os._exit, out of memory).
SUCCEEDED, FAILED, TIMED_OUT, KILLED, LOST = "succeeded", "failed", "timed_out", "killed", "lost"
#: Ended by itself because the pruner saw no hope; and not begun, because nearly all before it failed alike.
PRUNED, NOT_RUN = "pruned", "not_run"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTrial:
    """One point of the search space for one group, fixed before anything runs.

    A sampler that learns chooses the parameters later; ``params`` then has those of a warm start only.
    """

    trial: str
    group: str
    shard: int
    params: Mapping[str, JSON]
    seed: int

    def to_dict(self) -> dict[str, JSON]:
        """Return the line of the plan."""
        return {
            "trial": self.trial,
            "group": self.group,
            "shard": self.shard,
            "params": dict(self.params),
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read a line of the plan."""
        return cls(**{name: data[name] for name in ("trial", "group", "shard", "params", "seed")})


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResult:
    """What a trial came to, as it is committed to the store."""

    trial: str
    #: ``succeeded``, ``failed`` (it raised, or its metric is not a finite number), ``timed_out``, ``killed``,
    #: ``pruned``.
    status: str
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: Why it did not succeed, in one line.
    reason: str = ""
    #: Last lines of the traceback, for people.
    traceback: str = ""
    seconds: float = 0.0
    #: Reported intermediate values, as (step, value).
    reports: tuple[tuple[float, ...], ...] = ()
    #: What the sampler chose, where it learns; else the plan has them.
    params: Mapping[str, JSON] = field(default_factory=dict)
    #: The fitted model as an `Artifact` in wire form, where it was kept.
    model: Mapping[str, JSON] = field(default_factory=dict)
    #: What sampler and pruner noted on this trial, for those after it.
    notes: Mapping[str, JSON] = field(default_factory=dict)

    def to_dict(self) -> dict[str, JSON]:
        """Return the committed form."""
        wire = cast(dict[str, JSON], encode(self))
        return {name: value for name, value in wire.items() if value not in ("", [], {})}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Read the committed form."""
        return cast(Self, decode(cls, data))


def plan_trials(
    *,
    space: Mapping[str, Any],
    groups: Sequence[str],
    trials_per_group: int | None,
    sampler: str = RANDOM,
    seed: int,
    shards: int,
    warm_start: Mapping[str, Sequence[Mapping[str, JSON]]] | None = None,
    pruner: str | None = None,
    points: Mapping[str, Sequence[Mapping[str, JSON]]] | None = None,
) -> list[PlannedTrial]:
    """Return all trials, sorted by trial id; each belongs to exactly one shard, and no shard is empty.

    Parameters and seeds depend on the seed, the group and the position in the group only, so a changed function is
    tried on the same points. Whole groups share a shard where there are at least as many groups as shards; otherwise
    groups are divided, unless their trials learn from each other: then there are no more shards than groups.

    Args:
        space: Distributions (or their wire forms) by parameter name.
        groups: Names of the groups, each once.
        trials_per_group: Points per group; for the grid None (all points), or at least their number.
        sampler: ``random``, ``grid``, one whose points are given, or one that learns.
        seed: Of the whole sweep.
        shards: At most this many; never more than trials.
        warm_start: Per group, parameters to try first, best first. A parameter that the space does not hold is left
            out, one that it lacks or does not contain is sampled afresh.
        pruner: Name of a pruner; it does not change the points, only who may share a shard.
        points: Per group, the parameters of its trials, where the sampler does not say them: listed by the user
            (``space`` is empty then), or of a low-discrepancy sequence.

    Raises:
        InvalidSpace: nothing to try, or a grid that does not fit.
    """
    parsed = parse_space(space) if sampler != LISTED else {}
    if not groups or len(set(groups)) < len(groups):
        raise InvalidSpace("A sweep needs groups, each once", repr(list(groups))[:200], "Check the column in by=.")
    if shards < 1:
        raise InvalidSpace("A sweep needs at least one shard", shards, "Raise max_shards.")
    given = points or {}
    planned = {
        group: [dict(item) for item in given[group]]
        if sampler == LISTED
        else _points(parsed, group, trials_per_group, sampler, seed, warm_start or {}, given.get(group))
        for group in groups
    }
    total = sum(len(items) for items in planned.values())
    count = min(shards, len(groups) if in_sequence(sampler, pruner) else total)
    width = max(5, len(str(total - 1)))
    trials: list[PlannedTrial] = []
    for position, group in enumerate(groups):
        for index, params in enumerate(planned[group]):
            number = len(trials)
            shard = position * count // len(groups) if len(groups) >= count else number * count // total
            trials.append(
                PlannedTrial(
                    trial=f"t{number:0{width}d}",
                    group=group,
                    shard=shard,
                    params=params,
                    seed=seed_of("trial", str(seed), group, str(index)),
                )
            )
    return trials


def sweep_identity(
    *,
    function: str,
    data: str,
    space: Mapping[str, Any],
    by: str | None,
    groups: Sequence[str],
    trials_per_group: int | None,
    sampler: str,
    seed: int,
    metric: str,
    direction: str,
    timeout_seconds: float,
    max_train_rows: int | None,
    constants: Mapping[str, JSON],
    environment: str,
    namespace: str,
    warm_start: Mapping[str, Sequence[Mapping[str, JSON]]] | None = None,
    pruner: str | None = None,
    more: Mapping[str, JSON] | None = None,
) -> str:
    """Return the digest of everything that a trial's result depends on, and of nothing else.

    How many shards there are, where they run and how many successes are asked for are not part of it.

    Args:
        function: Digest of the function.
        data: Digest of the feature set's artifact.
        environment: Digest of the Python environment.
        more: What only some sweeps have: listed trials, options of a sampler, batches, further objectives.
    """
    return digest_json(
        {
            **(more or {}),
            "sweep": [function, data, environment, namespace],
            "space": space_to_dict(space) if space else {},
            "groups": [by, list(groups)],
            "plan": [trials_per_group, sampler, seed, *([pruner] if pruner else [])],
            "metric": [metric, direction],
            "limits": [float(timeout_seconds), max_train_rows],
            "constants": dict(constants),
            "warm_start": {group: [dict(item) for item in items] for group, items in (warm_start or {}).items()},
        }
    )


def trial_lines(trials: Iterable[PlannedTrial]) -> bytes:
    """Return a plan as JSON lines."""
    return b"".join(canonical_json(trial.to_dict()) + b"\n" for trial in trials)


def _points(
    space: Mapping[str, Distribution],
    group: str,
    trials_per_group: int | None,
    sampler: str,
    seed: int,
    warm_start: Mapping[str, Sequence[Mapping[str, JSON]]],
    given: Sequence[Mapping[str, JSON]] | None,
) -> list[dict[str, JSON]]:
    if sampler == GRID:
        all_points = list(grid(space))
        if trials_per_group is not None and trials_per_group < len(all_points):
            raise InvalidSpace(
                f"The grid has {len(all_points)} points, more than trials_per_group",
                trials_per_group,
                "Leave trials_per_group out, thin the grid, or use the random sampler.",
            )
        return all_points
    if trials_per_group is None or trials_per_group < 1:
        raise InvalidSpace(f"The {sampler} sampler needs trials_per_group >= 1", trials_per_group, "Give a number.")
    points: list[dict[str, JSON]] = [{} for _ in range(trials_per_group)]
    if given is not None:
        points = [dict(item) for item in given]
    elif sampler in PLANNED:
        points = [draw(space, "params", str(seed), group, str(index)) for index in range(trials_per_group)]
    for index, earlier in enumerate(list(warm_start.get(group, ()))[:trials_per_group]):
        points[index] |= {
            name: earlier[name] for name in space if name in earlier and space[name].contains(earlier[name])
        }
    return [existing(space, point) for point in points] if sampler in PLANNED else points
