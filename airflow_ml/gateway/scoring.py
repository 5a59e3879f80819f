"""Answering one batch: one call per variant, the champion for whatever the challenger cannot answer."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from airflow_ml.core.arms import challengers_of
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import CallFailed, FeatureViewMismatch
from airflow_ml.gateway.models import ModelProcess
from airflow_ml.gateway.processes import ProcessLost
from airflow_ml.gateway.split import CHAMPION, SHADOW_STEP, assign_all, step_label
from airflow_ml.gateway.wire import Row

#: How long a request waits for the champion's process to be started again: as long as that may take. Behind the
#: champion there is nobody, and a late answer is worth more than none; who cannot wait hangs up.
PATIENCE_SECONDS = 60.0
#: Calls for one batch in which the champion fails on some row, halving the batch around it.
MAX_CALLS = 32


@dataclass(frozen=True, slots=True)
class Held:
    """A traffic configuration in effect and the processes behind it."""

    traffic: Traffic
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


class Answer(NamedTuple):
    """The answer to one row. Without a score, ``reason`` says why; with one, why the champion stood in."""

    epoch: int
    step: str
    assigned: str
    variant: str
    version: str
    score: float | None
    reason: str = ""
    #: The row itself is at fault (a view that the model does not take), not the model.
    mismatch: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a row has no score."""

    reason: str
    mismatch: bool = False


async def answer(held: Held, rows: Sequence[Row], weight_percent: float, *, shadow: bool = False) -> list[Answer]:
    """Answer every row, in order; nothing is raised for what a single row or model does wrong.

    Args:
        held: What is in effect.
        rows: The batch.
        weight_percent: Each challenger's weight now, 0 where it must not answer.
        shadow: Whether challengers score the same rows unheard; only the name of the step says so here.
    """
    arms, stopped = held.arms, held.traffic.stopped
    assigned = assign_all(held.traffic.salt, [row.unit for row in rows], weight_percent, tuple(arms))
    asked: dict[str, list[int]] = {}
    for index, arm in enumerate(assigned):
        # Who is stopped keeps its units, and the champion answers them.
        asked.setdefault(CHAMPION if arm in stopped else arm, []).append(index)
    ours = asked.pop(CHAMPION, [])
    found, *theirs = await asyncio.gather(
        score_rows(held.champion, held.traffic.champion, CHAMPION, rows, ours),
        *(score_rows(*arms[arm], arm, rows, indices) for arm, indices in asked.items()),
    )
    first = {index: result for part in theirs for index, result in part.items()}
    fallbacks = {index: result.reason for index, result in first.items() if isinstance(result, Refusal)}
    found = first | found | await score_rows(held.champion, held.traffic.champion, CHAMPION, rows, list(fallbacks))
    epoch, step = held.traffic.epoch, SHADOW_STEP if shadow else step_label(weight_percent)
    versions = {arm: str(variant["version"]) for arm, (_, variant) in arms.items()}
    versions[CHAMPION] = str(held.traffic.champion["version"])
    answers = []
    for index, arm in enumerate(assigned):
        result = found[index]
        if isinstance(result, float) and index not in fallbacks and arm not in stopped:
            # Nearly always, so as cheap as can be.
            answers.append(Answer(epoch, step, arm, arm, versions[arm], result))
            continue
        variant = CHAMPION if index in fallbacks or arm in stopped else arm
        refusal = result if isinstance(result, Refusal) else None
        answers.append(
            Answer(
                epoch=epoch,
                step=step,
                assigned=arm,
                variant=variant,
                version=versions[variant],
                score=None if isinstance(result, Refusal) else result,
                reason=" ".join(filter(None, (fallbacks.get(index), refusal.reason if refusal else None))),
                mismatch=refusal is not None and refusal.mismatch,
            )
        )
    return answers


def trial(epoch: int, arm: str, version: str, result: float | Refusal) -> Answer:
    """Return the answer of one arm that was asked by name; it is of no step."""
    if isinstance(result, Refusal):
        return Answer(epoch, "", arm, arm, version, None, result.reason, result.mismatch)
    return Answer(epoch, "", arm, arm, version, result)


async def score_rows(
    process: ModelProcess | None,
    variant: Mapping[str, JSON] | None,
    name: str,
    rows: Sequence[Row],
    indices: Sequence[int],
) -> dict[int, float | Refusal]:
    """Return a score, or the reason why not, for each of the rows at ``indices``."""
    if process is None or variant is None or not indices:
        return {}
    view = str(variant["view_digest"])
    reason = ""
    # One more try for the champion only: behind it there is nobody.
    for patience_seconds in (PATIENCE_SECONDS, PATIENCE_SECONDS) if name == CHAMPION else (0.0,):
        try:
            await process.ready(patience_seconds)
            return await _score_once(process, view, name, rows, indices)
        except ProcessLost as error:
            reason = str(error)
    return dict.fromkeys(indices, Refusal(f"{name}: {reason}"))


async def _score_once(
    process: ModelProcess, view: str, name: str, rows: Sequence[Row], indices: Sequence[int]
) -> dict[int, float | Refusal]:
    found: dict[int, float | Refusal] = {}
    fitting: list[int] = []
    columns = frozenset(process.columns)
    for index in indices:
        values = rows[index].features.get(view)
        if values is not None and values.keys() >= columns:
            fitting.append(index)
        else:
            found[index] = _unfit(rows[index], view, columns, name)
    if not fitting:
        return found
    # Behind the challenger is the champion; behind the champion nobody, so there one bad row must not fail the others.
    calls = MAX_CALLS if name == CHAMPION else 1
    parts = [fitting]
    while parts:
        part = parts.pop()
        calls -= 1
        try:
            scores = await process.predict([rows[index].features[view] for index in part])
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


def _unfit(row: Row, view: str, columns: Set[str], name: str) -> Refusal:
    """Say why a row cannot be scored."""
    values = row.features.get(view)
    if values is None:
        mismatch = FeatureViewMismatch(
            f"The {name} takes features of view {view}",
            f"row {row.key!r} has {', '.join(sorted(row.features)) or 'none'}",
            "Compute the features with the view that the traffic configuration names.",
        )
        return Refusal(str(mismatch), mismatch=True)
    missing = sorted(columns - values.keys())
    return Refusal(f"Row {row.key!r} lacks the features {', '.join(missing[:8])} of view {view}.", mismatch=True)
