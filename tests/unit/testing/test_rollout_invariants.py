"""Each invariant can be broken, and says so."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from airflow_ml.core.fingerprint import format_time
from airflow_ml.testing.rollout_invariants import Recorded, violations
from airflow_ml.testing.rollout_world import ONE, World


@pytest.fixture(scope="module")
def promoted() -> Recorded:
    """A rollout as it should be, with the router's changes as a gateway would note them."""
    world = World()
    changes: list[dict[str, Any]] = []
    end = world.begin()
    while end.live:
        end = world.look(end)
        if not changes or changes[-1]["weight_percent"] != world.traffic.weight_percent:
            changes.append(line(world))
    return Recorded(
        states=world.history(),
        changes=changes,
        moves=[(world.now, "2")],
        evidence={end.epoch: list(range(1, end.looks + 1))},
    )


def line(world: World) -> dict[str, Any]:
    traffic = world.traffic
    return {
        "at": format_time(world.now),
        "epoch": traffic.epoch,
        "champion": traffic.champion["version"],
        "challenger": traffic.challenger["version"] if traffic.challenger else None,
        "weight_percent": traffic.weight_percent,
    }


def test_a_good_history_has_none(promoted: Recorded) -> None:
    assert [change["weight_percent"] for change in promoted.changes] == [5, 50, 100, 0]
    assert violations(promoted) == []


def late(change: dict[str, Any]) -> dict[str, Any]:
    return {**change, "at": format_time(datetime(2030, 1, 1, tzinfo=UTC))}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda r: replace(r, states=[r.states[-1], *r.states]), "contradict"),
        (lambda r: replace(r, changes=[*r.changes, r.changes[0]]), "epoch fell"),
        (lambda r: replace(r, changes=[{**r.changes[0], "weight_percent": 30.0}, *r.changes[1:]]), "without a record"),
        (lambda r: replace(r, changes=[late(r.changes[0]), *r.changes[1:]]), "lease had run out"),
        (lambda r: replace(r, changes=[{**r.changes[0], "champion": "9"}, *r.changes[1:]]), "without a promotion"),
        (lambda r: replace(r, moves=[(datetime(2026, 1, 1, tzinfo=UTC), "2")]), "before the router served it"),
        (lambda r: replace(r, moves=[*r.moves, (r.moves[0][0] + timedelta(1), "3")]), "no rollout's end"),
        (lambda r: replace(r, evidence={1: [*r.evidence[1], 1]}), "the looks"),
        (lambda r: replace(r, evidence={1: r.evidence[1][1:]}), "the looks"),
        (lambda r: replace(r, changes=[*r.changes[:-1], {**r.changes[-1], "champion": ONE["version"]}]), "It ended"),
    ],
)
def test_each_can_be_broken(promoted: Recorded, change: Any, said: str) -> None:
    assert said in " ".join(violations(change(promoted)))
