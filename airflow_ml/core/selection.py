"""Stage 5, selection: the winner of each group, with the reason, refitted."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.direction import MINIMIZE, check_direction
from airflow_ml.core.fingerprint import finite
from airflow_ml.core.record import JSON, Record
from airflow_ml.errors import ConfigurationError, SweepFailed

#: What the winners may be refitted on.
REFIT_NONE, REFIT_TRAIN, REFIT_TRAIN_VALIDATE = "none", "train", "train+validate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection(Record):
    """The chosen parameters of each group and the models refitted with them."""

    #: The leaderboard's sweep.
    sweep: str
    metric: str
    direction: str
    #: Mean of the winners' metric over groups, weighted by their validate rows.
    value: float
    reason: str
    #: JSON manifest ``{"by": column or null, "features": [...], "members": {group: {"params", "trial", "value", "rows",
    #: "model": Artifact}}, "pooled": {...} or null}``; ``pooled`` answers for groups never seen in training.
    models: Artifact
    #: The leaderboard's own artifact, so that the registry can show it.
    leaderboard: Artifact
    #: What the winners were refitted on: ``none``, ``train`` or ``train+validate``.
    refit: str
    groups: int
    #: The FeatureSet in wire form.
    data: Mapping[str, JSON]
    code_digest: str
    parents: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupChoice:
    """The winner of one group, or why there is none."""

    group: str
    #: None where no trial of the group may win.
    trial: str | None
    params: Mapping[str, JSON] = field(default_factory=dict)
    value: float | None = None
    seconds: float | None = None
    seed: int | None = None
    #: Rows of the group that the metric was measured on; None where the leaderboard does not say.
    rows: int | None = None
    #: Trials that succeeded, that failed, and that succeeded but break a constraint.
    succeeded: int = 0
    failed: int = 0
    excluded: int = 0
    reason: str


def choose(
    rows: Iterable[Mapping[str, Any]], *, direction: str, constraints: Mapping[str, Mapping[str, float]] | None = None
) -> tuple[GroupChoice, ...]:
    """Return the best trial of each group, sorted by group; a group without one is returned with ``trial=None``.

    Ties go to the faster trial, then to the smaller trial id, so that the order of the rows never matters.

    Args:
        rows: Of a leaderboard: ``group, trial, status, value, params, seconds`` and, where known, ``seed``, ``rows``
            and ``metrics``. ``params`` and ``metrics`` may be JSON text. A trial counts only with status ``succeeded``
            and a finite value.
        direction: ``minimize`` or ``maximize``.
        constraints: What a winner must keep to, by ``seconds``, ``value`` or the name of a metric:
            ``{"seconds": {"max": 60}, "recall": {"min": 0.3}}``. A trial that did not report it does not win.

    Raises:
        ConfigurationError: for another direction or a malformed constraint.
    """
    check_direction(direction)
    limits = check_constraints(constraints or {})
    by_group: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_group.setdefault(str(row["group"]), []).append(row)
    sign = 1.0 if direction == MINIMIZE else -1.0
    return tuple(_choose_one(group, by_group[group], sign, limits) for group in sorted(by_group))


def winners(choices: Sequence[GroupChoice]) -> tuple[GroupChoice, ...]:
    """Return the groups that have a winner.

    Raises:
        SweepFailed: no group has one.
    """
    found = tuple(choice for choice in choices if choice.trial is not None)
    if not found:
        raise SweepFailed(
            "No trial can be selected",
            "; ".join(f"{choice.group}: {choice.reason}" for choice in choices[:5]) or "the leaderboard has no rows",
            "Read the failed trials' reasons in the leaderboard, or loosen the constraints.",
        )
    return found


def pooled_params(members: Sequence[Mapping[str, Any]], rows: Mapping[str, int]) -> Mapping[str, Any]:
    """Return the member whose parameters the pooled model takes: the winner of the group with the most rows.

    The largest group's winner was measured with the least noise and saw the most data, so its parameters are the best
    single guess for all rows together. Ties go to the smaller group name.

    Args:
        members: Winners with at least the key ``group``; not empty.
        rows: Rows per group; a group that is absent counts as 0.
    """
    return min(members, key=lambda member: (-rows.get(str(member["group"]), 0), str(member["group"])))


def weighted_value(choices: Sequence[GroupChoice], rows: Mapping[str, int]) -> float:
    """Return the winners' mean metric, weighted by their groups' rows; the plain mean where no rows are known."""
    chosen = winners(choices)
    weights = [rows.get(choice.group, 0) for choice in chosen]
    if sum(weights) <= 0:
        weights = [1] * len(chosen)
    return sum(w * float(c.value or 0.0) for w, c in zip(weights, chosen, strict=True)) / sum(weights)


def selection_reason(choices: Sequence[GroupChoice], *, metric: str, direction: str, value: float) -> str:
    """Return in words what was chosen and what was left out."""
    chosen = winners(choices)
    succeeded, failed = sum(c.succeeded for c in choices), sum(c.failed for c in choices)
    excluded = sum(c.excluded for c in choices)
    best = "lowest" if direction == MINIMIZE else "highest"
    said = [f"{best} {metric} in each of {len(chosen)} group{'s' if len(chosen) > 1 else ''}, on average {value:.6g}"]
    said.append(f"from {succeeded} trials that succeeded; {failed} failed")
    if excluded:
        said.append(f"{excluded} broke a constraint")
    lost = [choice.group for choice in choices if choice.trial is None]
    if lost:
        said.append(
            f"no winner in {', '.join(lost[:10])}{' and others' if len(lost) > 10 else ''} (pooled model answers)"
        )
    return "; ".join(said)


def _choose_one(
    group: str,
    rows: Sequence[Mapping[str, Any]],
    sign: float,
    limits: Mapping[str, Mapping[str, float]],
) -> GroupChoice:
    done = [row for row in rows if row.get("status") == "succeeded" and finite(row.get("value")) is not None]
    failed = len(rows) - len(done)
    kept = [row for row in done if _keeps(row, limits)]
    excluded = len(done) - len(kept)
    if not kept:
        if done:
            reason = f"none of {len(done)} trials keeps to the constraints: {_words(limits)}"
        else:
            reason = f"none of {len(rows)} trials succeeded{_first_failure(rows)}"
        return GroupChoice(
            group=group, trial=None, reason=reason, succeeded=len(done), failed=failed, excluded=excluded
        )
    best = min(kept, key=lambda row: (sign * float(row["value"]), _seconds(row), str(row["trial"])))
    value = float(best["value"])
    ties = sum(1 for row in kept if float(row["value"]) == value)
    reason = f"{'lowest' if sign > 0 else 'highest'} value {value:.6g} of {len(kept)} trials"
    if ties > 1:
        reason += f"; the fastest of {ties} equals"
    if failed:
        reason += f"; {failed} failed"
    if excluded:
        reason += f"; {excluded} broke a constraint"
    return GroupChoice(
        group=group,
        trial=str(best["trial"]),
        params=_mapping(best.get("params")),
        value=value,
        seconds=finite(best.get("seconds")),
        seed=None if best.get("seed") is None else int(best["seed"]),
        rows=None if best.get("rows") is None else int(best["rows"]),
        succeeded=len(done),
        failed=failed,
        excluded=excluded,
        reason=reason,
    )


def _keeps(row: Mapping[str, Any], limits: Mapping[str, Mapping[str, float]]) -> bool:
    for name, limit in limits.items():
        seen = finite(row.get(name)) if name in ("seconds", "value") else finite(_mapping(row.get("metrics")).get(name))
        if seen is None or seen > limit.get("max", seen) or seen < limit.get("min", seen):
            return False
    return True


def check_constraints(constraints: Mapping[str, Mapping[str, float]]) -> Mapping[str, Mapping[str, float]]:
    """Return bounds by metric as they are.

    Raises:
        ConfigurationError: for a malformed one.
    """
    for name, limit in constraints.items():
        sides = set(limit) if isinstance(limit, Mapping) else set()
        if not sides or not sides <= {"min", "max"} or any(finite(limit[side]) is None for side in sides):
            raise ConfigurationError(
                f"Malformed constraint on {name}", repr(limit), 'Use {"min": number} or {"max": number}.'
            )
    return constraints


def _words(limits: Mapping[str, Mapping[str, float]]) -> str:
    return ", ".join(f"{name} {side} {number:g}" for name, limit in limits.items() for side, number in limit.items())


def _first_failure(rows: Sequence[Mapping[str, Any]]) -> str:
    reasons = sorted(str(row["reason"])[:200] for row in rows if row.get("reason"))
    return f", for example: {reasons[0]}" if reasons else ""


def _seconds(row: Mapping[str, Any]) -> float:
    seconds = finite(row.get("seconds"))
    return float("inf") if seconds is None else seconds


def _mapping(value: object) -> Mapping[str, Any]:
    """Read a column that holds a JSON object, as an object or as its text."""
    if isinstance(value, str):
        value = json.loads(value) if value else {}
    return value if isinstance(value, Mapping) else {}
