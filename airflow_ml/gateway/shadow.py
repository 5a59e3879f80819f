"""Challengers in shadow: they score what the champion has answered, behind the answer's back.

Nothing of it can delay or change an answer: it begins when the answer is made and logged, in the challengers' own
processes, and beyond a bound of waiting rows it is left out and counted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from airflow_ml.core.record import JSON
from airflow_ml.gateway.batch import Batch
from airflow_ml.gateway.models import ModelProcess
from airflow_ml.gateway.scoring import Answers, Held, Refusal, score_rows

#: Rows that may wait for challengers: a few seconds of traffic. A challenger that is slower than the champion is left
#: behind instead of filling the memory.
WAITING_ROWS = 20_000

_log = logging.getLogger("airflow_ml.gateway")


class ShadowScore(NamedTuple):
    """What a challenger said of a row that the champion answered."""

    model: str
    epoch: int
    key: str
    arm: str
    version: str
    score: float


@dataclass(slots=True)
class ShadowCounters:
    """What happened since the start."""

    rows: int = 0
    #: Too many were waiting.
    skipped_rows: int = 0
    #: A challenger gave no score, or it could not be logged.
    failed_rows: int = 0


class Mirror:
    """Offers rows to challengers.

    Args:
        write: Logs their scores.
        waiting_rows: Bound of rows under way.
    """

    def __init__(
        self, write: Callable[[Sequence[ShadowScore]], Awaitable[object]], *, waiting_rows: int = WAITING_ROWS
    ) -> None:
        self.counters = ShadowCounters()
        self._write = write
        self._limit = waiting_rows
        self._waiting = 0
        #: What is under way.
        self.tasks: set[asyncio.Task[None]] = set()

    def offer(self, held: Held, batch: Batch, answers: Answers) -> None:
        """Let each challenger that is not stopped score the rows that were answered; returns at once."""
        answered = answers.scored
        for arm, (process, variant) in held.arms.items():
            if arm in held.traffic.stopped or not answered:
                continue
            if self._waiting + len(answered) > self._limit:
                self.counters.skipped_rows += len(answered)
                continue
            self._waiting += len(answered)
            task = asyncio.create_task(self._score(held, arm, process, variant, batch, answered))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def _score(
        self,
        held: Held,
        arm: str,
        process: ModelProcess,
        variant: Mapping[str, JSON],
        batch: Batch,
        answered: Sequence[int],
    ) -> None:
        try:
            with process.in_use():
                found = await score_rows(process, variant, arm, batch, answered)
            scores = [
                ShadowScore(
                    model=held.traffic.model,
                    epoch=held.traffic.epoch,
                    key=batch.keys[index],
                    arm=arm,
                    version=str(variant["version"]),
                    score=score,
                )
                for index, score in sorted(found.items())
                if not isinstance(score, Refusal)
            ]
            await self._write(scores)
            self.counters.rows += len(scores)
            self.counters.failed_rows += len(answered) - len(scores)
        except Exception:
            self.counters.failed_rows += len(answered)
            _log.exception("%d rows of %s have no score of %s in shadow", len(answered), held.traffic.model, arm)
        finally:
            self._waiting -= len(answered)
