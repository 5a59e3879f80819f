"""The trigger of a release that waits until another rollout of its model has ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_ml.hooks.store import artifact_store
from airflow_ml.runtime.rollout_history import RolloutHistory


class RolloutTurnTrigger(BaseTrigger):
    """Wait until nobody leads a rollout of a model, then fire once; it writes nothing.

    A rollout whose owner was lost ends when the reconciler or the next release finds it, so the trigger also fires when
    a lease has run out: the release then ends it.

    Args:
        model: Its name.
        namespace: Namespace of the rollouts.
        poll_interval_seconds: Pause between looks at the record.
    """

    def __init__(self, *, model: str, namespace: str, poll_interval_seconds: float = 60.0) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.namespace = namespace
        self.poll_interval_seconds = poll_interval_seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return names and numbers only."""
        return (
            "airflow_ml.triggers.rollout_turn.RolloutTurnTrigger",
            {
                "model": self.model,
                "namespace": self.namespace,
                "poll_interval_seconds": self.poll_interval_seconds,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, sleep, repeat; a store out of reach is waited for."""
        while True:
            try:
                if await asyncio.to_thread(self._free):
                    yield TriggerEvent({"model": self.model})  # type: ignore[no-untyped-call]
                    return
            except Exception as error:  # a store, a network, a client library: whatever it is, it may pass
                self.log.warning("The rollouts of %s cannot be read: %s: %s", self.model, type(error).__name__, error)
            await asyncio.sleep(self.poll_interval_seconds)

    def _free(self) -> bool:
        from datetime import UTC, datetime

        at = RolloutHistory(artifact_store()).latest(self.model, self.namespace)
        return at is None or not at.state.live or at.state.expired(datetime.now(UTC))
