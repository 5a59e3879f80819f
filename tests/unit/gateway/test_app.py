"""The gateway's HTTP against clients that do not go on."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.gateway import app as gateway_app
from airflow_ml.gateway.service import Gateway


def asked(folder: Path, receive: Callable[[], Awaitable[dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return what the gateway sends to a request for scores whose body comes as ``receive`` says."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/models/m/predict",
        "raw_path": b"/v1/models/m/predict",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json")],
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }

    async def send(message: Any) -> None:
        sent.append(message)

    async def go() -> None:
        served = gateway_app.make_app(lambda: Gateway(folder, f"file://{folder}/store", lambda: datetime.now(UTC)))
        async with served.router.lifespan_context(served):
            await asyncio.wait_for(served(scope, receive, send), 10)

    asyncio.run(go())
    return sent


def test_a_client_that_stops_in_its_body_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_app, "BODY_SECONDS", 0.1)
    began = iter([{"type": "http.request", "body": b'{"rows": ', "more_body": True}])

    async def receive() -> dict[str, Any]:
        for message in began:
            return message
        await asyncio.sleep(60)
        return {}

    start, _ = asked(tmp_path, receive)
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]


def test_a_client_that_hangs_up_in_its_body_is_no_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    asked(tmp_path, receive)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
