"""Goes through all rollouts of a namespace and ends what nobody leads any more."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import AirflowMLError, FencedOut, RefConflict
from airflow_ml.runtime.rollout_evidence import rollout_ref
from airflow_ml.runtime.rollout_lead import RolloutLead

#: What was done: a lost rollout was ended; a router was set to what an ended one says; a lost rollout could not be
#: ended; the router of an ended one could not be read or set.
ENDED, REASSERTED, FAILED, UNREACHABLE = "ended", "reasserted", "failed", "unreachable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciled:
    """One rollout that needed something."""

    model: str
    namespace: str
    #: 0 where the record could not be read.
    epoch: int
    #: ``ended``, ``reasserted``, ``failed`` or ``unreachable``.
    action: str
    reason: str

    def to_dict(self) -> dict[str, JSON]:
        """Return plain JSON."""
        return {name: getattr(self, name) for name in ("model", "namespace", "epoch", "action", "reason")}


def reconcile_all(
    store: ArtifactStore,
    namespace: str,
    driver_of: Callable[[RolloutState], RolloutLead],
    *,
    now: datetime,
) -> tuple[int, list[Reconciled]]:
    """End every rollout whose lease has expired, and set right every router that an ended one left split.

    A rollout whose owner still looks is not touched. What fails for one model is reported and keeps no other waiting.

    Args:
        store: Holds the records.
        namespace: Whose rollouts.
        driver_of: Returns a driver for the router of a record.
        now: Wall clock, for the leases.

    Returns:
        How many models were looked at, and those that needed something.
    """
    prefix = rollout_ref("", namespace).rstrip("/")
    seen, found = 0, []
    for ref in store.refs(prefix):
        entry = store.latest(ref)
        if entry is None or entry.value.get("namespace") != namespace:
            continue  # a namespace below this one
        seen += 1
        done = _reconcile(entry.value, driver_of, now)
        if done is not None:
            found.append(done)
    return seen, found


def live_rollouts(store: ArtifactStore, namespace: str) -> Iterator[RolloutState]:
    """Yield the newest record of each rollout of a namespace that somebody leads, or should."""
    for ref in store.refs(rollout_ref("", namespace).rstrip("/")):
        entry = store.latest(ref)
        if entry is None or entry.value.get("namespace") != namespace:
            continue
        try:
            state = RolloutState.from_dict(entry.value)
        except AirflowMLError:
            continue  # reported by the round itself
        if state.live:
            yield state


def _reconcile(
    value: Mapping[str, JSON], driver_of: Callable[[RolloutState], RolloutLead], now: datetime
) -> Reconciled | None:
    state: RolloutState | None = None
    try:
        state = RolloutState.from_dict(value)
        if state.live and not state.expired(now):
            return None
        driver = driver_of(state)
        if state.live:
            end = driver.reconcile(state.model, state.namespace)
            if end is None or end.live or end.epoch != state.epoch:
                return None  # its owner came back, or the next rollout has begun
            return _done(end, ENDED, f"{end.state}: {end.reason}")
        if driver.reassert(state.model, state.namespace):
            return _done(state, REASSERTED, f"Its router did otherwise than the end says: {state.state}")
    except (FencedOut, RefConflict):
        return None  # somebody else acted first
    except AirflowMLError as error:
        problem = f"{type(error).__name__}: {error}"
        if state is None:
            return Reconciled(
                model=str(value.get("model")),
                namespace=str(value.get("namespace")),
                epoch=0,
                action=FAILED,
                reason=problem,
            )
        return _done(state, FAILED if state.live else UNREACHABLE, problem)
    return None


def _done(state: RolloutState, action: str, reason: str) -> Reconciled:
    return Reconciled(model=state.model, namespace=state.namespace, epoch=state.epoch, action=action, reason=reason)
