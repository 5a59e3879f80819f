"""The history of a model's rollouts in the store: read the newest record, append the next by compare-and-swap."""

from __future__ import annotations

from dataclasses import dataclass, replace

from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import FencedOut
from airflow_ml.runtime.rollout_evidence import compile_evidence, rollout_ref


@dataclass(frozen=True, slots=True)
class At:
    """A record and its place in the history."""

    sequence: int
    state: RolloutState


class RolloutHistory:
    """The refs ``rollouts/<namespace>/<model>`` of one store."""

    def __init__(self, store: ArtifactStore) -> None:
        self._store = store

    def latest(self, model: str, namespace: str) -> At | None:
        """Return the newest record of a model; None where there never was a rollout."""
        entry = self._store.latest(rollout_ref(model, namespace))
        return At(entry.sequence, RolloutState.from_dict(entry.value)) if entry else None

    def latest_of(self, model: str, namespace: str, *, owner: str) -> At | None:
        """Return the newest record of an owner's rollouts of a model; None where it never led one."""
        at = self.latest(model, namespace)
        if at is None or at.state.owner == owner:
            return at
        found: At | None = None
        for entry in self._store.history(rollout_ref(model, namespace)):
            if entry.value.get("owner") == owner:
                found = At(entry.sequence, RolloutState.from_dict(entry.value))
        return found

    def current(self, state: RolloutState, *, any_claim: bool = False) -> At:
        """Return the newest record of the rollout that ``state`` is an earlier record of.

        Raises:
            FencedOut: another rollout began, or another attempt of the task took this one over.
        """
        at = self.latest(state.model, state.namespace)
        if at is None or at.state.epoch != state.epoch:
            raise FencedOut(
                f"The rollout of {state.model!r} is no longer this one",
                f"epoch {at.state.epoch if at else None} instead of {state.epoch}",
                "Stop; the newest one leads.",
            )
        if at.state.claim != state.claim and not any_claim:
            raise FencedOut(
                f"Another attempt of the task leads the rollout of {state.model!r}",
                f"claim {at.state.claim} instead of {state.claim}",
                "Stop; the newest attempt leads.",
            )
        return at

    def append(self, at: At | None, state: RolloutState) -> At:
        """Append a record behind the one that it was made from.

        Raises:
            RefConflict: somebody else appended first.
        """
        ref = rollout_ref(state.model, state.namespace)
        entry = self._store.append(ref, state.to_dict(), after=at.sequence if at else 0)
        return At(entry.sequence, state)

    def with_evidence(self, at: At, state: RolloutState) -> RolloutState:
        """Return the record that follows ``at``, with all looks up to it gathered in an artifact."""
        artifact = compile_evidence(self._store, at.state, newest=state)
        return replace(state, evidence=artifact, evidence_through=at.sequence)
