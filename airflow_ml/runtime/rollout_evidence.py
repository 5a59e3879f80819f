"""The evidence of a rollout: every look as a line of JSON, and the closing record made from it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.record import decode, encode
from airflow_ml.errors import FencedOut

# The operators import this module while a DAG file is parsed; the records come in when a task runs.
if TYPE_CHECKING:
    from airflow_ml.core.artifact import Artifact
    from airflow_ml.core.canary import ArmResult, Rollout
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.rollout_look import Look
    from airflow_ml.core.rollout_state import RolloutState


def rollout_ref(model: str, namespace: str) -> str:
    """Return the ref that holds the records of a model's rollouts in a namespace."""
    return f"rollouts/{namespace}/{model}"


def compile_evidence(store: ArtifactStore, state: RolloutState, *, newest: RolloutState) -> Artifact | None:
    """Store all looks of a rollout as JSON lines and return the artifact; None before the first look.

    Each look is in the history of records when it is taken; the artifact gathers them at every step and at the end.
    Writing it at every look would write the whole file again for each line.

    Args:
        state: The newest record in the history.
        newest: A record that is about to be written, with perhaps one look more.
    """
    lines: dict[int, bytes] = {}
    if state.evidence is not None:
        for line in store.get_bytes(state.evidence).splitlines():
            lines[int(json.loads(line)["number"])] = line
    for look in _looks(store, state):
        lines[look.number] = _line(look)
    if newest.last_look is not None:
        lines[newest.last_look.number] = _line(newest.last_look)
    if not lines:
        return None
    ordered = [lines[number] for number in sorted(lines)]
    return store.put_bytes(b"\n".join(ordered) + b"\n", format="jsonl", rows=len(ordered))


def _looks(store: ArtifactStore, state: RolloutState) -> Iterator[Look]:
    from airflow_ml.core.rollout_state import RolloutState

    for entry in store.history(rollout_ref(state.model, state.namespace)):
        if entry.sequence <= state.evidence_through or entry.value.get("epoch") != state.epoch:
            continue
        look = RolloutState.from_dict(entry.value).last_look
        if look is not None:
            yield look


def _line(look: Look) -> bytes:
    return canonical_json(encode(look))


def draw_evidence(store: ArtifactStore, state: RolloutState) -> Artifact | None:
    """Store the picture of an ended rollout's looks and return the artifact; None where it had none.

    The same rollout gives the same bytes, however often it is drawn.

    Raises:
        ArtifactNotFound, ArtifactCorrupt: the evidence cannot be read.
    """
    from airflow_ml.core.rollout_look import Look
    from airflow_ml.core.rollout_picture import rollout_picture

    if state.evidence is None:
        return None
    looks = [decode(Look, json.loads(line)) for line in store.get_bytes(state.evidence).splitlines()]
    return store.put_bytes(rollout_picture(state, looks).encode(), format="svg")


def find_end(store: ArtifactStore, model: str, namespace: str, epoch: int) -> RolloutState:
    """Return the last record of one rollout, even if others began since.

    Raises:
        FencedOut: there is none, or it has not ended.
    """
    from airflow_ml.core.rollout_state import RolloutState

    found: RolloutState | None = None
    newest = store.latest(rollout_ref(model, namespace))
    if newest is not None and newest.value.get("epoch") == epoch:
        found = RolloutState.from_dict(newest.value)
    else:
        for entry in store.history(rollout_ref(model, namespace)):
            if entry.value.get("epoch") == epoch:
                found = RolloutState.from_dict(entry.value)
    if found is None or found.live:
        raise FencedOut(
            f"Rollout {epoch} of {model!r} has no end", found.state if found else "no record", "Start it again."
        )
    return found


def closing_record(state: RolloutState) -> Rollout:
    """Return what the canary stage hands on."""
    from airflow_ml.core.canary import Rollout

    look = state.last_look
    champion = state.champion or {}
    return Rollout(
        model=state.model,
        namespace=state.namespace,
        champion=str(champion.get("version", "")),
        challenger=str(state.candidate.get("version", "")),
        outcome=state.state,
        reason=state.reason,
        epoch=state.epoch,
        weights=state.weights,
        samples=dict(look.requests) if look is not None and look.requests else {},
        data_days=int(state.data_days),
        effect=look.effect if look else None,
        interval=look.interval if look else (),
        looks=state.looks,
        evidence=state.evidence,
        design=state.plan.design,
        arms=_results(state) if state.others else (),
    )


def _results(state: RolloutState) -> tuple[ArmResult, ...]:
    from airflow_ml.core.canary import ArmResult

    seen = {one.arm: one for one in state.seen_arms}
    found = []
    for arm, variant in state.challengers.items():
        look = seen.get(arm)
        found.append(
            ArmResult(
                arm=arm,
                version=str(variant.get("version", "")),
                effect=look.effect if look else None,
                interval=look.interval if look else (),
                shown=look is not None and look.ready,
                worse=look is not None and look.worse,
                stopped=state.stopped.get(arm, ""),
            )
        )
    return tuple(found)
