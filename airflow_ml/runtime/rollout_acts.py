"""What a human does with a rollout: hold, resume, approve, promote, stop. Each needs the store only, not the router.

A page, a command line or a task calls these; who leads the rollout sees the new record at its next look and does what
it says. Each act names who and why and is appended by compare-and-swap like every other change.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from airflow_ml.core.canary import INCONCLUSIVE, ROLLED_BACK
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.rollout_change import ending
from airflow_ml.core.rollout_human import closed, held, reentered, resumed, to_promote
from airflow_ml.core.rollout_look import APPROVE, HOLD, PROMOTE, RESUME, STOP, Act
from airflow_ml.core.rollout_state import BY_EVIDENCE, BY_INTERRUPTION, PARKED, RolloutState
from airflow_ml.errors import ConfigurationError, FencedOut, RefConflict
from airflow_ml.runtime.rollout_evidence import rollout_ref
from airflow_ml.runtime.rollout_history import RolloutHistory

_RACES = 20


class RolloutActs:
    """The acts on the rollouts of one store.

    Every method returns the new record and raises:

    - FencedOut: there is no rollout, another one (``epoch``) began, or its state allows no such act.
    - ConfigurationError: nobody is named, or no reason is given.
    - RefConflict: lost too many races for an entry; try again.

    Args:
        store: Holds the records.
        clock: Wall clock (aware UTC).
    """

    def __init__(self, store: ArtifactStore, *, clock: Callable[[], datetime]) -> None:
        self._history = RolloutHistory(store)
        self._clock = clock

    def newest(self, model: str, namespace: str, *, owner: str) -> RolloutState:
        """Return the newest record of an owner's rollout, even if others began since."""
        at = self._history.latest_of(model, namespace, owner=owner)
        if at is None:
            raise FencedOut(f"There is no rollout of {model!r} by {owner}", "no record", "Start one.")
        return at.state

    def hold(self, model: str, namespace: str, *, who: str, why: str, epoch: int | None = None) -> RolloutState:
        """Keep a rollout at its step. It is still looked at, and harm still ends it."""
        return self._do(model, namespace, epoch, lambda state: held(state, self._act(HOLD, who, why)))

    def resume(self, model: str, namespace: str, *, who: str, why: str, epoch: int | None = None) -> RolloutState:
        """Let a held rollout go on, with its ``max_data_days`` from here."""
        return self._do(model, namespace, epoch, lambda state: resumed(state, self._act(RESUME, who, why)))

    def promote(
        self, model: str, namespace: str, *, who: str, why: str, arm: str = "", epoch: int | None = None
    ) -> RolloutState:
        """Ask for a promotion without more evidence; of several challengers that of ``arm``.

        Who leads the rollout does it at the next look: the router serves the challenger alone and is read back, then
        the alias follows. Harm that this look shows ends the rollout instead; so does an alias that somebody moved.
        """
        act = self._act(PROMOTE, who, why)
        return self._do(model, namespace, epoch, lambda state: to_promote(state, act, arm=arm))

    def stop(self, model: str, namespace: str, *, who: str, why: str, epoch: int | None = None) -> RolloutState:
        """Write down that a rollout has to go back to the champion.

        A parked one has ended with that. Of a live one the traffic moves at its next look, at the reconciler's next
        round if nobody looks, and at once with ``RolloutDriver.roll_back``.
        """
        act = self._act(STOP, who, why)
        reason = f"Stopped by {who}: {why}"

        def stopped(state: RolloutState) -> RolloutState:
            if state.state == PARKED:
                return closed(state, ROLLED_BACK, reason=reason, cause=BY_INTERRUPTION, act=act)
            return ending(state, ROLLED_BACK, reason=reason, cause=BY_INTERRUPTION, act=act)

        return self._do(model, namespace, epoch, stopped)

    def approve(
        self,
        model: str,
        namespace: str,
        *,
        who: str,
        why: str,
        lease_seconds: float = 180.0,
        epoch: int | None = None,
    ) -> RolloutState:
        """Let a parked rollout go on at its step with its evidence. Whoever calls this must lead it from now on."""
        act = self._act(APPROVE, who, why)
        return self._do(
            model, namespace, epoch, lambda state: reentered(state, act, now=act.at, lease_seconds=lease_seconds)
        )

    def reject(self, model: str, namespace: str, *, who: str, why: str, epoch: int | None = None) -> RolloutState:
        """End a parked rollout as inconclusive."""
        act = self._act(STOP, who, why)
        reason = f"Not approved by {who}: {why}"
        return self._do(
            model,
            namespace,
            epoch,
            lambda state: closed(state, INCONCLUSIVE, reason=reason, cause=BY_EVIDENCE, act=act),
        )

    def _act(self, kind: str, who: str, why: str) -> Act:
        if not who.strip() or not why.strip():
            raise ConfigurationError(
                f"Nobody can {kind} a rollout without a name and a reason", f"who={who!r}, why={why!r}", "Give both."
            )
        return Act(kind=kind, who=who.strip()[:200], why=why.strip()[:1000], at=self._clock())

    def _do(
        self, model: str, namespace: str, epoch: int | None, change: Callable[[RolloutState], RolloutState]
    ) -> RolloutState:
        for _ in range(_RACES):
            at = self._history.latest(model, namespace)
            if at is None or (epoch is not None and at.state.epoch != epoch):
                raise FencedOut(
                    f"No such rollout of {model!r} in the namespace {namespace!r}",
                    f"the newest is {at.state.epoch if at else 'none'}, wanted was {epoch or 'any'}",
                    "Look at airflow-ml rollouts.",
                )
            try:
                return self._history.append(at, change(at.state)).state
            except RefConflict:
                continue  # its leader wrote an entry meanwhile
        raise RefConflict("Too many writers of one rollout", rollout_ref(model, namespace), "Try again.")
