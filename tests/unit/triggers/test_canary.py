from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from airflow_ml.triggers.canary import CanaryTrigger

NAMES: dict[str, Any] = {
    "model": "m",
    "namespace": "prod",
    "epoch": 3,
    "claim": 1,
    "router_conn_id": "gateway_default",
    "mlflow_conn_id": "mlflow_default",
}


def test_the_trigger_carries_names_and_numbers_only_and_is_made_again_from_them() -> None:
    trigger = CanaryTrigger(**NAMES, poll_interval_seconds=1.0)
    path, kwargs = trigger.serialize()
    assert path == "airflow_ml.triggers.canary.CanaryTrigger"
    assert all(value is None or isinstance(value, str | int | float) for value in kwargs.values())
    assert CanaryTrigger(**json.loads(json.dumps(kwargs))).serialize() == (path, kwargs)


def test_no_good_look_for_long_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(self: CanaryTrigger) -> Any:
        raise OSError("the store is away")

    monkeypatch.setattr(CanaryTrigger, "look_once", fails)
    trigger = CanaryTrigger(**NAMES, poll_interval_seconds=0.01, give_up_seconds=0.05)

    async def first() -> Any:
        async for event in trigger.run():
            return event.payload
        raise AssertionError("no event")

    event = asyncio.run(first())
    assert event["lost"]
    assert "the store is away" in event["error"]


def test_cleanup_does_nothing() -> None:
    """A restart of the triggerer calls it too."""
    assert CanaryTrigger.cleanup is CanaryTrigger.__mro__[1].cleanup
