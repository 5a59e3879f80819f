"""What becomes of requests when the process of their model dies, hangs, or is unloaded."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.gateway import processes
from airflow_ml.gateway.batch import Batch, Row
from airflow_ml.gateway.models import ModelProcess
from airflow_ml.gateway.processes import Spawner
from airflow_ml.gateway.scoring import Refusal, score_rows
from airflow_ml.gateway.service import Gateway

AT = datetime(2013, 5, 1, tzinfo=UTC)
DEADLY, HANGING, SLOW = 13.0, 99.0, 5.5
#: A model process whose scores are its feature; it dies of one value, hangs at another, and takes 5.5 s for a third.
WORKER = f"""
import os, socket, sys, time
from array import array
from airflow_ml.gateway.worker import encode_frame, read_frame

connection = socket.socket(fileno=int(sys.argv[1]))
read_frame(connection)
connection.sendall(encode_frame({{"columns": ["x"], "numbers": ["x"]}}))
while (question := read_frame(connection)) is not None:
    values = array("d", bytes(question[1]))
    if {DEADLY} in values:
        os._exit(1)
    time.sleep(60 if {HANGING} in values else 5.5 if {SLOW} in values else 0)
    connection.sendall(encode_frame({{"rows": len(values)}}, values.tobytes()))
"""


@pytest.fixture(autouse=True)
def _scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    def spawn(fd: int, store_uri: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", WORKER, str(fd)]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=(fd,), start_new_session=True)

    monkeypatch.setattr(processes, "_spawn", spawn)


@asynccontextmanager
async def running(answer_timeout_seconds: float = 30.0) -> AsyncIterator[ModelProcess]:
    spawner = Spawner("file:///nowhere")
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


def variant(number: int) -> dict[str, JSON]:
    return {"version": str(number), "view_digest": "v", "models": artifact(number).to_dict()}


def artifact(number: int) -> Artifact:
    return Artifact(uri="file:///nowhere", digest=f"sha256:{number:064}", format="json", size_bytes=1)


@pytest.mark.parametrize("bad", [DEADLY, HANGING])
def test_a_request_that_ends_its_process_takes_no_other_with_it(bad: float) -> None:
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
        gateway = Gateway(tmp_path, "file:///nowhere", lambda: AT)
        gateway.start()
        traffic = Traffic(
            model="m",
            epoch=1,
            champion=variant(1),
            challenger=variant(2),
            weight_percent=0.0,
            expires_at=None,
            salt="",
            shadow=True,
        )
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
