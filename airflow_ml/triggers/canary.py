"""The trigger that leads a rollout: it alone renews the lease, looks, decides and moves traffic."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_ml.errors import FencedOut
from airflow_ml.hooks.rollout import rollout_driver
from airflow_ml.hooks.rollout_signals import emit_metrics, start_metrics
from airflow_ml.triggers.task_state import ENDED_BY_USER, task_state

if TYPE_CHECKING:
    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.runtime.rollout import RolloutDriver

_ON_KILL_SECONDS = 20.0


class CanaryTrigger(BaseTrigger):
    """Look at a rollout until it ends, then fire one event that names it.

    All that matters is in the store, so any triggerer can go on with it, and two at once do no harm. Every look runs in
    a thread, at most one at a time, with a deadline: a look that hangs never blocks the triggerer's loop. Whatever
    fails is logged and tried again, until lease and router expiry have both passed.

    Args:
        model: Its name in registry and router.
        namespace: Namespace of the rollout.
        epoch: The rollout.
        claim: The attempt of the task that leads it; a later attempt makes this trigger stop.
        router_conn_id: Airflow connection of the gateway.
        mlflow_conn_id: Airflow connection of the registry.
        poll_interval_seconds: Pause between looks.
        lease_seconds: How long the rollout may go without a look.
        router_seconds: After this time without a write the router serves the champion by itself.
        look_seconds: After this time a look is not waited for any longer; it goes on in its thread.
        give_up_seconds: After this time without a single good look the task fails; traffic is back at the champion by
            then, whoever is dead.
        source: Where the metric is read, in wire form; None for a gateway's own log.
    """

    def __init__(
        self,
        *,
        model: str,
        namespace: str,
        epoch: int,
        claim: int,
        router_conn_id: str,
        mlflow_conn_id: str,
        poll_interval_seconds: float = 60.0,
        lease_seconds: float = 180.0,
        router_seconds: float = 300.0,
        look_seconds: float = 30.0,
        give_up_seconds: float = 600.0,
        source: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.model = model
        self.namespace = namespace
        self.epoch = epoch
        self.claim = claim
        self.router_conn_id = router_conn_id
        self.mlflow_conn_id = mlflow_conn_id
        self.poll_interval_seconds = poll_interval_seconds
        self.lease_seconds = lease_seconds
        self.router_seconds = router_seconds
        self.look_seconds = look_seconds
        self.give_up_seconds = give_up_seconds
        self.source = source
        self._driver: RolloutDriver | None = None

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return names and numbers only; connections are resolved where the trigger runs."""
        return (
            "airflow_ml.triggers.canary.CanaryTrigger",
            {
                "model": self.model,
                "namespace": self.namespace,
                "epoch": self.epoch,
                "claim": self.claim,
                "router_conn_id": self.router_conn_id,
                "mlflow_conn_id": self.mlflow_conn_id,
                "poll_interval_seconds": self.poll_interval_seconds,
                "lease_seconds": self.lease_seconds,
                "router_seconds": self.router_seconds,
                "look_seconds": self.look_seconds,
                "give_up_seconds": self.give_up_seconds,
                "source": self.source,
            },
        )

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Look, sleep, repeat."""
        last_good = time.monotonic()
        look: asyncio.Task[RolloutState] | None = None
        while True:
            look = look or asyncio.create_task(asyncio.to_thread(self.look_once))
            done, _ = await asyncio.wait({look}, timeout=self.look_seconds)
            problem = "" if done else f"a look has been running for more than {self.look_seconds:g} s"
            if done:
                finished, look = look, None
                try:
                    state = finished.result()
                except FencedOut as error:
                    yield self._event(error=str(error))
                    return
                except Exception as error:  # a store, router or metric out of reach: the lease bounds how long
                    problem = f"a look failed: {type(error).__name__}: {error}"
                    self._driver = None  # connections may have changed
                else:
                    last_good = time.monotonic()
                    self._report(state)
                    if not state.live:
                        yield self._event(outcome=state.state)
                        return
            if problem:
                self.log.warning("Rollout %s of %s: %s", self.epoch, self.model, problem)
                if time.monotonic() - last_good >= self.give_up_seconds:
                    yield self._event(error=f"No good look for {self.give_up_seconds:g} s, {problem}", lost=True)
                    return
            await asyncio.sleep(self.poll_interval_seconds)

    def look_once(self) -> RolloutState:
        """Take one look; blocking.

        Raises:
            FencedOut: the rollout is led by another attempt, or is not the newest one any more.
        """
        driver = self._connected()
        return driver.look(self._mine(driver))

    async def on_kill(self) -> None:
        """Roll back at once if the user has ended the task; the lease does it otherwise, a bit later.

        Airflow calls this for a clear too, where the next attempt goes on with the rollout, and wrongly when a frozen
        triggerer wakes up; so the task's own state decides, and if that cannot be had, nothing is done.
        """
        await asyncio.wait_for(asyncio.to_thread(self._stop), timeout=_ON_KILL_SECONDS)

    def _stop(self) -> None:
        state = task_state(self.task_instance)
        if state not in ENDED_BY_USER:
            self.log.info("The task is %s: its rollout is left to the next attempt or to its lease", state)
            return
        driver = self._connected()
        try:
            ended = driver.roll_back(self._mine(driver), f"Its task was set to {state}")
        except FencedOut as error:
            self.log.info("Not rolled back: %s", error)
            return
        self._report(ended)

    def _connected(self) -> RolloutDriver:
        if self._driver is None:
            self._driver = rollout_driver(
                self.model,
                namespace=self.namespace,
                router_conn_id=self.router_conn_id,
                mlflow_conn_id=self.mlflow_conn_id,
                lease_seconds=self.lease_seconds,
                router_seconds=self.router_seconds,
                source=self.source,
            )
        return self._driver

    def _mine(self, driver: RolloutDriver) -> RolloutState:
        state = driver.latest(self.model, self.namespace)
        if state is None or (state.epoch, state.claim) != (self.epoch, self.claim):
            raise FencedOut(
                f"Rollout {self.epoch} of {self.model!r} is not led by this attempt any more",
                f"epoch {state.epoch}, attempt {state.claim}" if state else "no record",
                "The newest attempt leads.",
            )
        return state

    def _report(self, state: RolloutState) -> None:
        start_metrics()
        emit_metrics(state)
        self.log.info(
            "%s: %s at %g %%, look %s, %.1f data days: %s",
            self.model,
            state.state,
            state.weight_percent,
            state.looks,
            state.data_days,
            state.reason,
        )

    def _event(self, **facts: str | bool) -> TriggerEvent:
        payload = {"model": self.model, "namespace": self.namespace, "epoch": self.epoch, **facts}
        return TriggerEvent(payload)  # type: ignore[no-untyped-call]
