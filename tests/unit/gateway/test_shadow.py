"""Challengers behind the answer: nothing of them reaches who asked, and what they cannot do is counted."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

from airflow_ml.core.arms import arm_names
from airflow_ml.core.ports import Traffic
from airflow_ml.errors import CallFailed
from airflow_ml.gateway.batch import Batch, Row, Table
from airflow_ml.gateway.models import ModelProcess
from airflow_ml.gateway.scoring import Answers, Held, answer
from airflow_ml.gateway.shadow import Mirror, ShadowScore
from airflow_ml.gateway.split import assign

NOW = datetime(2013, 5, 1, tzinfo=UTC)


class Process:
    """A model process that adds a shift, waits for a permission first, or fails."""

    columns = ("x",)

    def __init__(self, shift: float, *, fails: bool = False) -> None:
        self.shift, self.fails = shift, fails
        self.may = asyncio.Event()
        self.may.set()
        self.asked = 0

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        yield

    async def ready(self, patience_seconds: float) -> None:
        return None

    async def predict(self, table: Table, *, alone: bool = False) -> list[float | None]:
        self.asked += 1
        await self.may.wait()
        if self.fails:
            raise CallFailed("The model failed", "ValueError")
        return [cast(float, value) + self.shift for value in table.columns["x"]]


def held(*processes: Process, **changes: Any) -> Held:
    one, two, *others = [{"version": str(number), "view_digest": "v"} for number in range(1, len(processes) + 1)]
    traffic = Traffic(
        model="m",
        epoch=7,
        champion=one,
        challenger=two,
        weight_percent=0.0,
        expires_at=None,
        salt="s",
        others=tuple(others),
        shadow=True,
    )
    champion, challenger, *more = cast("list[ModelProcess]", list(processes))
    return Held(replace(traffic, **changes), lambda: NOW, champion, challenger, tuple(more))


def rows(count: int) -> Batch:
    return Batch.of(
        [
            Row(key=f"k{number}", unit=f"u{number}", at=NOW, features={"v": {"x": number / 10}})
            for number in range(count)
        ]
    )


class Kept:
    """Where scores are written."""

    def __init__(self) -> None:
        self.scores: list[ShadowScore] = []
        self.problem: Exception | None = None

    async def write(self, scores: Sequence[ShadowScore]) -> None:
        if self.problem is not None:
            raise self.problem
        self.scores.extend(scores)


async def answered(of: Held, batch: Batch) -> Answers:
    return await answer(of, batch, 0.0, shadow=True)


def test_the_champion_is_heard_and_the_others_are_written_down() -> None:
    async def go() -> None:
        kept = Kept()
        mirror, of, batch = Mirror(kept.write), held(Process(0), Process(0.5), Process(0.25)), rows(3)
        found = await answered(of, batch)
        assert (found.scores, found.step, found.assigned) == ([0.0, 0.1, 0.2], "shadow", ["champion"] * 3)
        mirror.offer(of, batch, found)
        await asyncio.gather(*mirror.tasks)
        assert {(one.key, one.arm, one.version, one.epoch) for one in kept.scores} == {
            (f"k{number}", arm, version, 7)
            for number in range(3)
            for arm, version in (("challenger", "2"), ("challenger-2", "3"))
        }
        assert mirror.counters.rows == 6

    asyncio.run(go())


def test_a_challenger_that_hangs_delays_nobody_and_is_left_behind() -> None:
    async def go() -> None:
        kept = Kept()
        slow = Process(0.5)
        slow.may.clear()
        mirror, of, batch = Mirror(kept.write, waiting_rows=25), held(Process(0), slow), rows(10)
        for _ in range(5):
            mirror.offer(of, batch, await answered(of, batch))
            await asyncio.sleep(0)
        assert (mirror.counters.skipped_rows, kept.scores) == (30, [])
        slow.may.set()
        await asyncio.gather(*mirror.tasks)
        assert (mirror.counters.rows, len(kept.scores)) == (20, 20)

    asyncio.run(go())


def test_what_fails_is_counted_and_raised_to_nobody() -> None:
    async def go() -> None:
        kept = Kept()
        mirror, of, batch = Mirror(kept.write), held(Process(0), Process(0, fails=True)), rows(4)
        mirror.offer(of, batch, await answered(of, batch))
        await asyncio.gather(*mirror.tasks)
        assert (mirror.counters.failed_rows, kept.scores) == (4, [])
        kept.problem = OSError("disk full")
        good = held(Process(0), Process(0))
        mirror.offer(good, batch, await answered(good, batch))
        await asyncio.gather(*mirror.tasks)
        assert mirror.counters.failed_rows == 8

    asyncio.run(go())


def test_who_is_stopped_is_not_asked_and_rows_without_an_answer_are_not_mirrored() -> None:
    async def go() -> None:
        kept, second = Kept(), Process(0.5)
        mirror, batch = Mirror(kept.write), rows(3)
        of = held(Process(0), second, Process(0.25), stopped=("challenger",))
        found = await answered(of, batch)
        mirror.offer(of, batch, replace(found, scores=[None, *found.scores[1:]], reasons={0: "champion: no score"}))
        await asyncio.gather(*mirror.tasks)
        assert second.asked == 0
        assert [(one.key, one.arm) for one in kept.scores] == [("k1", "challenger-2"), ("k2", "challenger-2")]

    asyncio.run(go())


def test_several_challengers_answer_their_units_and_the_champion_those_of_a_stopped_one() -> None:
    async def go() -> None:
        batch = rows(200)
        arms = arm_names(2)
        processes = Process(0), Process(0.5), Process(0.25)
        of = held(*processes, shadow=False, weight_percent=30.0, stopped=("challenger",))
        found = await answer(of, batch, 30.0)
        assert found.assigned == [assign("s", unit, 30.0, arms) for unit in batch.units]
        for index, arm in enumerate(found.assigned):
            theirs = arm == "challenger-2"
            variant = found.variants[index]
            assert (variant, found.versions[variant]) == (("challenger-2", "3") if theirs else ("champion", "1"))
            assert found.scores[index] == index / 10 + (0.25 if theirs else 0)
        assert (found.step, found.reasons) == ("30", {})
        assert set(found.assigned) == {"champion", *arms}
        assert [process.asked for process in processes] == [1, 0, 1]

    asyncio.run(go())
