"""What becomes of requests when a model's process dies or hangs, a clock is set back, or the log is held by another."""

from __future__ import annotations

import asyncio
import itertools
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.gateway import processes
from airflow_ml.gateway.batch import Batch, Row
from airflow_ml.gateway.models import ModelProcess
from airflow_ml.gateway.processes import LOADING, Spawner
from airflow_ml.gateway.scoring import Refusal, score_rows
from airflow_ml.gateway.service import Gateway

AT = datetime(2013, 5, 1, tzinfo=UTC)
DEADLY, HANGING, SLOW, JUNK, SHORT = 13.0, 99.0, 5.5, 77.0, 55.0
#: A model process whose scores are its feature; it dies of one value, hangs at another, takes 5.5 s for a third,
#: answers no JSON to a fourth, and leaves a score out for a fifth.
WORKER = f"""
import os, socket, sys, time
from array import array
from airflow_ml.gateway.worker import HEADER, encode_frame, read_frame

connection = socket.socket(fileno=int(sys.argv[1]))
read_frame(connection)
with open(sys.argv[2], "a") as notes:
    notes.write("+")
    notes.flush()
    time.sleep(0.3)
    notes.write("-")
connection.sendall(encode_frame({{"columns": ["x"], "numbers": ["x"]}}))
while (question := read_frame(connection)) is not None:
    values = array("d", bytes(question[1]))
    if {DEADLY} in values:
        os._exit(1)
    time.sleep(60 if {HANGING} in values else 5.5 if {SLOW} in values else 0)
    answer = encode_frame({{"rows": len(values)}}, values[{SHORT} in values :].tobytes())
    connection.sendall(HEADER.pack(1, 0) + b"x" if {JUNK} in values else answer)
"""


def artifact(number: int) -> Artifact:
    return Artifact(uri="file:///nowhere", digest=f"sha256:{number:064}", format="json", size_bytes=1)


def variant(number: int) -> dict[str, JSON]:
    return {"version": str(number), "view_digest": "v", "models": artifact(number).to_dict()}


TRAFFIC = Traffic(
    model="m",
    epoch=1,
    champion=variant(1),
    challenger=variant(2),
    weight_percent=100.0,
    expires_at=None,
    salt="",
)


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(fd: int, store_uri: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WORKER, str(fd), store_uri]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(fd,), start_new_session=True)

    monkeypatch.setattr(processes, "_spawn", spawn)


@asynccontextmanager
async def running(answer_timeout_seconds: float = 30.0) -> AsyncIterator[ModelProcess]:
    spawner = Spawner("/dev/null")
    process = ModelProcess(artifact(1), spawner, answer_timeout_seconds=answer_timeout_seconds)
    try:
        await process.loaded()
        yield process
    finally:
        await process.close()
        await spawner.close()


async def ask(process: ModelProcess, values: Sequence[float], name: str = "champion") -> dict[int, float | Refusal]:
    with process.in_use():
        return await score_rows(process, variant(1), name, batch(values), range(len(values)))


def batch(values: Sequence[float]) -> Batch:
    return Batch.of([Row(str(n), str(n), AT, {"v": {"x": value}}) for n, value in enumerate(values)])


@pytest.mark.parametrize("bad", [DEADLY, HANGING, JUNK, SHORT, math.nan])
def test_a_request_that_its_process_fails_on_takes_no_other_with_it(bad: float) -> None:
    async def go() -> list[dict[int, float | Refusal]]:
        async with running(answer_timeout_seconds=1.0) as process:
            # The first is under way alone; the others come meanwhile, and are asked in one call.
            return await asyncio.gather(*(ask(process, [value]) for value in [0.5, 1.0, bad, 2.0, 3.0]))

    first, second, refused, *others = asyncio.run(go())
    assert [first, second, *others] == [{0: 0.5}, {0: 1.0}, {0: 2.0}, {0: 3.0}]
    assert isinstance(refused[0], Refusal)


def test_a_model_is_unloaded_when_its_last_request_is_answered() -> None:
    async def go() -> Any:
        async with running() as process:
            asked = asyncio.create_task(ask(process, [SLOW]))
            await asyncio.sleep(0.1)
            await process.close()
            return await asked, process.pid

    assert asyncio.run(go()) == ({0: SLOW}, None)


def test_a_gateway_ends_in_time_though_a_challenger_in_shadow_and_an_unloaded_model_hang(tmp_path: Path) -> None:
    async def go() -> float:
        gateway = Gateway(tmp_path, "/dev/null", lambda: AT)
        gateway.start()
        traffic = replace(TRAFFIC, weight_percent=0.0, shadow=True)
        await gateway.set_traffic(traffic)
        answers = await gateway.predict("m", batch([0.5]))
        assert answers.scores == [0.5]
        for process in gateway._processes.values():
            assert process.pid is not None
            os.kill(process.pid, signal.SIGSTOP)
        asked = asyncio.create_task(gateway.predict("m", batch([0.75])))
        await asyncio.sleep(0.1)
        await gateway.set_traffic(replace(traffic, champion=variant(3), epoch=2))
        await gateway.predict("m", batch([1.0]))
        await asyncio.sleep(0.1)
        began = time.monotonic()
        asked.cancel()  # as the server does with what is left after its three seconds
        await gateway.close()
        return time.monotonic() - began

    assert asyncio.run(go()) < 2


def test_a_clock_that_is_set_back_lends_a_division_no_time(tmp_path: Path) -> None:
    clock = [AT]

    async def go() -> list[str]:
        gateway = Gateway(tmp_path, "/dev/null", lambda: clock[0])
        gateway.start()
        try:
            await gateway.set_traffic(TRAFFIC)
            await gateway.set_traffic(replace(TRAFFIC, expires_at=AT + timedelta(seconds=2)))
            found = [*(await gateway.predict("m", batch([0.5]))).variants]
            clock[0] = AT - timedelta(hours=1)
            await asyncio.sleep(2.1)
            found += (await gateway.predict("m", batch([0.5]))).variants
            await gateway.set_traffic(replace(TRAFFIC, expires_at=clock[0] + timedelta(minutes=5)))
            return [*found, *(await gateway.predict("m", batch([0.5]))).variants]
        finally:
            await gateway.close()

    assert asyncio.run(go()) == ["challenger", "champion", "challenger"]


def test_a_log_that_another_holds_is_waited_for_by_no_answer(tmp_path: Path) -> None:
    async def go() -> tuple[float, int, int]:
        gateway = Gateway(tmp_path, "/dev/null", lambda: AT)
        gateway.start()
        try:
            await gateway.set_traffic(TRAFFIC)
            with closing(sqlite3.connect(tmp_path / "traffic.sqlite", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                began = time.monotonic()
                answers = await asyncio.gather(*(gateway.predict("m", batch([value])) for value in range(8)))
                seconds = time.monotonic() - began
                assert [one.scores for one in answers] == [[value] for value in range(8)]
                assert all(process.pid is not None for process in gateway._processes.values())
            reading = (await gateway.metrics("m", metric="brier", epoch=1)).reading
            return seconds, gateway.counters.unlogged_batches, reading.assigned["challenger"]["100/2013-05-01"]
        finally:
            await gateway.close()

    seconds, unlogged, units = asyncio.run(go())
    assert (unlogged, units) == (0, 1)
    assert seconds < 5


def test_models_load_a_few_at_a_time(tmp_path: Path) -> None:
    """After a start with many, all at once would be none within the time that loading may take."""
    notes = tmp_path / "notes"

    async def go() -> None:
        spawner = Spawner(str(notes))
        started = [ModelProcess(artifact(number), spawner) for number in range(LOADING + 4)]
        try:
            await asyncio.gather(*(process.loaded() for process in started))
        finally:
            await asyncio.gather(*(process.close() for process in started))
            await spawner.close()

    asyncio.run(go())
    changes = [1 if note == "+" else -1 for note in notes.read_text()]
    assert len(changes) == 2 * (LOADING + 4)
    assert max(itertools.accumulate(changes)) == LOADING
