"""Answering one batch: one call per variant, the champion for whatever the challenger cannot answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from airflow_ml.core.arms import challengers_of
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import CallFailed, FeatureViewMismatch
from airflow_ml.gateway.batch import Batch
from airflow_ml.gateway.models import ModelProcess
from airflow_ml.gateway.processes import ProcessDown, ProcessLost
from airflow_ml.gateway.split import CHAMPION, SHADOW_STEP, assign_all, step_label

#: How long a request waits for the champion's process to be up again, however often: as long as that may take. Behind
#: the champion there is nobody, and a late answer is worth more than none; who cannot wait hangs up.
PATIENCE_SECONDS = 60.0
#: Calls for one batch in which the champion fails on some row, halving the batch around it.
MAX_CALLS = 32


@dataclass(frozen=True, slots=True)
class Held:
    """A traffic configuration in effect and the processes behind it."""

    traffic: Traffic
    #: Against which it expires.
    now: Callable[[], datetime]
    champion: ModelProcess
    challenger: ModelProcess | None
    others: tuple[ModelProcess, ...] = ()

    @property
    def processes(self) -> list[ModelProcess]:
        """The processes that must stay loaded."""
        return [self.champion, *([] if self.challenger is None else [self.challenger]), *self.others]

    @property
    def arms(self) -> dict[str, tuple[ModelProcess, Mapping[str, JSON]]]:
        """The challengers by arm, stopped ones included."""
        variants = challengers_of(self.traffic)
        return {arm: (process, variants[arm]) for arm, process in zip(variants, self.processes[1:], strict=True)}


def never_back(clock: Callable[[], datetime]) -> Callable[[], datetime]:
    """Return a clock that goes on where the wall clock is set back, so that this lends a division no time."""
    began_at, began = clock(), time.monotonic()
    return lambda: max(clock(), began_at + timedelta(seconds=time.monotonic() - began))


@dataclass(frozen=True, slots=True)
class Answers:
    """The answers to a batch; all lists are of its length."""

    epoch: int
    step: str
    #: The arms that the hash chose.
    assigned: Sequence[str]
    #: The arms that answered.
    variants: Sequence[str]
    #: Of each arm.
    versions: Mapping[str, str]
    scores: Sequence[float | None]
    #: By index. Of a row without a score, why; of one with a score, why the champion stood in.
    reasons: Mapping[int, str] = field(default_factory=dict)
    #: Rows that are themselves at fault (a view that the model does not take), not the model.
    mismatches: frozenset[int] = frozenset()

    @property
    def scored(self) -> Sequence[int]:
        """The rows that have a score."""
        if not self.reasons:
            return range(len(self.scores))
        return [index for index, score in enumerate(self.scores) if score is not None]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row has no score."""

    reason: str
    mismatch: bool = False


async def answer(held: Held, batch: Batch, weight_percent: float, *, shadow: bool = False) -> Answers:
    """Answer every row; nothing is raised for what a single row or model does wrong.

    Args:
        held: What is in effect.
        batch: The rows.
        weight_percent: Each challenger's weight now, 0 where it must not answer.
        shadow: Whether challengers score the same rows unheard; only the name of the step says so here.
    """
    challengers, stopped = held.arms, held.traffic.stopped
    arms = {CHAMPION: (held.champion, held.traffic.champion)} | challengers
    assigned = assign_all(held.traffic.salt, batch.units, weight_percent, tuple(challengers))
    # Who is stopped keeps its units, and the champion answers them.
    variants = [CHAMPION if arm in stopped else arm for arm in assigned] if stopped else assigned
    asked = {arm: [index for index, one in enumerate(variants) if one == arm] for arm in dict.fromkeys(variants)}
    parts = [score_rows(*arms[arm], arm, batch, indices) for arm, indices in asked.items()]
    # One row has one arm: no tasks for it.
    results = await asyncio.gather(*parts) if len(parts) > 1 else [await part for part in parts]
    found = {index: result for part in results for index, result in part.items()}
    failed = {
        index: result.reason
        for index, result in found.items()
        if isinstance(result, Refusal) and variants[index] != CHAMPION
    }
    if failed:
        variants = [CHAMPION if index in failed else arm for index, arm in enumerate(variants)]
        found |= await score_rows(*arms[CHAMPION], CHAMPION, batch, list(failed))
    return _answers(
        epoch=held.traffic.epoch,
        step=SHADOW_STEP if shadow else step_label(weight_percent),
        assigned=assigned,
        variants=variants,
        versions={arm: str(variant["version"]) for arm, (_, variant) in arms.items()},
        found=found,
        failed=failed,
    )


async def trial(epoch: int, process: ModelProcess, variant: Mapping[str, JSON], arm: str, batch: Batch) -> Answers:
    """Return the answers of one arm that was asked by name; they are of no step."""
    found = await score_rows(process, variant, arm, batch, range(len(batch)))
    named = [arm] * len(batch)
    versions = {arm: str(variant["version"])}
    return _answers(epoch=epoch, step="", assigned=named, variants=named, versions=versions, found=found, failed={})


def _answers(
    *,
    epoch: int,
    step: str,
    assigned: Sequence[str],
    variants: Sequence[str],
    versions: Mapping[str, str],
    found: Mapping[int, float | Refusal],
    failed: Mapping[int, str],
) -> Answers:
    refused = {index: result for index, result in found.items() if isinstance(result, Refusal)}
    reasons = {
        index: " ".join(filter(None, (failed.get(index), refused[index].reason if index in refused else None)))
        for index in sorted({*failed, *refused})
    }
    scores = [None if isinstance(one := found[index], Refusal) else one for index in range(len(assigned))]
    mismatches = frozenset(index for index, refusal in refused.items() if refusal.mismatch)
    return Answers(epoch, step, assigned, variants, versions, scores, reasons, mismatches)


async def score_rows(
    process: ModelProcess, variant: Mapping[str, JSON], name: str, batch: Batch, indices: Sequence[int]
) -> dict[int, float | Refusal]:
    """Return a score, or the reason why not, for each of the rows at ``indices``."""
    if not indices:
        return {}
    # The champion is waited for and asked a second time: behind it there is nobody.
    deadline = time.monotonic() + (PATIENCE_SECONDS if name == CHAMPION else 0.0)
    losses = 0
    while True:
        try:
            await process.ready(max(deadline - time.monotonic(), 0.0))
            return await _score_once(process, str(variant["view_digest"]), name, batch, indices, alone=losses > 0)
        except ProcessDown as error:
            reason = str(error)
        except ProcessLost as error:
            reason = str(error)
            losses += 1
        if losses > 1 or time.monotonic() >= deadline:
            return dict.fromkeys(indices, Refusal(f"{name}: {reason}"))


async def _score_once(
    process: ModelProcess, view: str, name: str, batch: Batch, indices: Sequence[int], *, alone: bool
) -> dict[int, float | Refusal]:
    columns = frozenset(process.columns)
    found: dict[int, float | Refusal] = {}
    fitting = batch.features.fitting(view, columns, indices)
    if len(fitting) < len(indices):
        for index in sorted(set(indices).difference(fitting)):
            found[index] = _unfit(batch, index, view, columns, name)
    # Behind the challenger is the champion; behind the champion nobody, so there one bad row must not fail the others.
    calls = MAX_CALLS if name == CHAMPION else 1
    parts = [fitting] if fitting else []
    while parts:
        part = parts.pop()
        calls -= 1
        try:
            scores = await process.predict(batch.features.take(view, process.columns, part), alone=alone)
        except ProcessLost:
            raise
        except CallFailed as error:
            if len(part) > 1 and calls > len(parts):
                half = len(part) // 2
                parts += [part[:half], part[half:]]
            else:
                found |= dict.fromkeys(part, Refusal(f"{name}: {error}"))
            continue
        for index, score in zip(part, scores, strict=True):
            found[index] = Refusal(f"{name}: the score is no finite number.") if score is None else score
    return found


def _unfit(batch: Batch, index: int, view: str, columns: Set[str], name: str) -> Refusal:
    """Say why a row cannot be scored."""
    key, views = batch.keys[index], batch.features.names(index)
    if view not in views:
        mismatch = FeatureViewMismatch(
            f"The {name} takes features of view {view}",
            f"row {key!r} has {', '.join(sorted(views)) or 'none'}",
            "Compute the features with the view that the traffic configuration names.",
        )
        return Refusal(str(mismatch), mismatch=True)
    missing = sorted(columns - set(views[view]))
    return Refusal(f"Row {key!r} lacks the features {', '.join(missing[:8])} of view {view}.", mismatch=True)
