"""What holds of every recorded history of a model's rollouts, whatever died meanwhile."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.rollout_state import SERVING_ENDS, RolloutState
from airflow_ml.testing.rollout_world import check_history


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """The history of one model, as store, router and registry have it."""

    #: All records, oldest first.
    states: Sequence[RolloutState]
    #: The router's changes, oldest first, as the gateway notes them.
    changes: Sequence[Mapping[str, Any]]
    #: Wall clock and version of each move of the alias ``champion`` that was seen, oldest first.
    moves: Sequence[tuple[datetime, str]] = ()
    #: Numbers of the looks in the evidence of each rollout that ended, by epoch.
    evidence: Mapping[int, Sequence[int]] = field(default_factory=dict)


def violations(recorded: Recorded) -> list[str]:
    """Return a sentence for each thing that must not be.

    - Of the records: everything that `check_history` says; one owner at a time, no step skipped.
    - The router's epoch never falls, so nothing that ended comes back.
    - The challenger has traffic only as a record intended before, under a lease that had not run out.
    - The challenger serves alone only after the record says so.
    - The alias moves only to a version that the router serves by a rollout's end.
    - Each look is in the evidence once.
    - In the end the router does what the last record says.
    """
    return [
        *_of_records(recorded),
        *_of_router(recorded),
        *_of_alias(recorded),
        *_of_evidence(recorded),
        *_of_the_end(recorded),
    ]


def _of_records(recorded: Recorded) -> Iterator[str]:
    try:
        check_history(recorded.states)
    except AssertionError as error:
        yield f"The records contradict one another: {error}"


def _of_router(recorded: Recorded) -> Iterator[str]:
    for before, after in itertools.pairwise(recorded.changes):
        if after["epoch"] < before["epoch"]:
            yield f"The router's epoch fell from {before['epoch']} to {after['epoch']}"
    known = {str((recorded.states[0].champion or {}).get("version"))} if recorded.states else set()
    for change in recorded.changes:
        at, epoch, weight = parse_time(change["at"]), change["epoch"], change["weight_percent"]
        mine = [state for state in recorded.states if state.router_epoch == epoch]
        if change["champion"] not in known:
            ends = [state for state in mine if (state.pending or state.state) in SERVING_ENDS]
            if not any(state.challenger["version"] == change["champion"] for state in ends):
                yield f"Version {change['champion']} served alone in epoch {epoch} without a promotion on record"
            known.add(change["champion"])
        if change["challenger"] is None or not weight:
            continue
        intents = [state for state in mine if state.live and not state.pending and state.weight_percent == weight]
        if not intents:
            yield f"{weight:g} % in epoch {epoch} at {change['at']} without a record that intended it"
        leases = [state.lease_expires_at for state in intents if state.lease_expires_at is not None]
        if leases and at > max(leases):
            yield f"{weight:g} % in epoch {epoch} at {change['at']}, when the last lease had run out: {max(leases)}"


def _of_alias(recorded: Recorded) -> Iterator[str]:
    for at, version in recorded.moves:
        served = [change for change in recorded.changes if change["champion"] == version]
        ended = [s for s in recorded.states if s.state in SERVING_ENDS and s.challenger["version"] == version]
        if not served or not ended or not all(state.confirmed for state in ended):
            yield f"The alias was moved to version {version}, which no rollout's end was read back with"
        elif parse_time(served[0]["at"]) > at:
            yield f"The alias was moved to version {version} at {at}, before the router served it at {served[0]['at']}"


def _of_evidence(recorded: Recorded) -> Iterator[str]:
    for epoch, numbers in recorded.evidence.items():
        looks = max((state.looks for state in recorded.states if state.epoch == epoch), default=0)
        if list(numbers) != list(range(1, looks + 1)):
            yield f"The evidence of rollout {epoch} has the looks {list(numbers)} of {looks}"


def _of_the_end(recorded: Recorded) -> Iterator[str]:
    if not recorded.states or recorded.states[-1].live or not recorded.changes:
        return
    last, change = recorded.states[-1], recorded.changes[-1]
    serving = last.challenger if last.state in SERVING_ENDS else last.champion
    wanted = (last.router_epoch, (serving or {}).get("version"), None)
    found = (change["epoch"], change["champion"], change["challenger"])
    if found != wanted and not (found[0] > wanted[0]):
        yield f"It ended {last.state}, but the router does {found} instead of {wanted}"
