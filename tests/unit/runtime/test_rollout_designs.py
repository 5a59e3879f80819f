"""Whole rollouts of each design: in shadow, the champion against itself, several challengers, without a promotion."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from airflow_ml.core.canary import CONCLUDED, INCONCLUSIVE, PROMOTED, ROLLED_BACK
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import parse
from airflow_ml.core.rollout_report import report
from airflow_ml.core.rollout_state import PARKED, RolloutState
from airflow_ml.errors import MetricUnreadable
from airflow_ml.testing.rollout_world import ONE, TWO, World

THREE = {**TWO, "version": "3"}
FOUR = {**TWO, "version": "4"}


def world(steps: list[Any], challenger: float = 0.1, **changes: Any) -> World:
    return World(challenger, plan=parse_plan(steps, **{"max_data_days": 20, **changes}))


def divisions(made: World) -> list[tuple[Any, ...]]:
    """The router's divisions in order, each once: versions, weight, shadow."""

    def of(traffic: Traffic) -> tuple[Any, ...]:
        others = [] if traffic.challenger is None else [traffic.challenger, *traffic.others]
        return "".join(str(v["version"]) for v in others), traffic.weight_percent, traffic.shadow

    return list(dict.fromkeys(of(traffic) for traffic in made.router.history))


def test_a_shadow_comes_before_the_first_risk() -> None:
    made = world([("shadow", "2d"), (5, "1d"), (50, "1d"), 100])
    end = made.run(made.begin())
    assert end.state == PROMOTED
    assert divisions(made) == [
        ("2", 0.0, False),
        ("2", 0.0, True),
        ("2", 5.0, False),
        ("2", 50.0, False),
        ("2", 100.0, False),
        ("", 0.0, False),
    ]
    assert end.weights == (5.0, 50.0, 100.0)
    made.check()


def test_harm_in_shadow_ends_it_without_any_risk() -> None:
    made = world([("shadow", "7d"), (5, "1d"), 100], challenger=0.4)
    end = made.run(made.begin())
    assert end.state == ROLLED_BACK
    assert end.weights == ()
    assert "worse" in end.reason
    assert end.last_look is not None
    assert end.last_look.kind == "shadow"
    made.check()


def test_paired_shadow_promotes_by_pairs_alone() -> None:
    made = world([("shadow", "5d"), 100], design="paired_shadow")
    end = made.run(made.begin())
    assert end.state == PROMOTED
    assert divisions(made) == [("2", 0.0, False), ("2", 0.0, True), ("2", 100.0, False), ("", 0.0, False)]
    made.check()


def test_paired_shadow_may_ramp_and_only_harm_counts_there() -> None:
    made = world([("shadow", "5d"), (10, "1d"), (50, "1d"), 100], design="paired_shadow", alpha=0.05)
    state = made.begin()
    while state.kind != "split" or state.step < 1:
        state = made.look(state)
    made.metrics.challenger = 0.2  # heard, it is no better; that was not asked for
    assert made.run(state).state == PROMOTED
    made.check()
    other = world([("shadow", "5d"), (10, "3d"), (50, "3d"), 100], design="paired_shadow")
    state = other.begin()
    while state.step < 1:
        state = other.look(state)
    other.metrics.challenger = 0.5
    end = other.run(state)
    assert (end.state, end.candidate["version"]) == (ROLLED_BACK, "2")


def test_no_difference_in_pairs_is_no_promotion() -> None:
    made = world([("shadow", "5d"), 100], challenger=0.2, design="paired_shadow")
    assert made.run(made.begin()).state == INCONCLUSIVE
    made.check()


def test_the_champion_against_itself_comes_first_and_counts_for_nothing_else() -> None:
    made = world([("aa", "2d"), (5, "1d"), (50, "1d"), 100])
    state = made.look(made.begin(), day=False)
    assert (state.kind, made.traffic.challenger, made.traffic.weight_percent) == ("aa", ONE, 50.0)
    end = made.run(state)
    assert end.state == PROMOTED
    assert end.weights == (5.0, 50.0, 100.0)
    assert end.same_epoch == end.epoch
    assert end.metric_epochs == (end.epoch, end.epoch + 1)
    assert end.evidence is not None
    days = [json.loads(line)["data_days"] for line in made.store.get_bytes(end.evidence).splitlines()]
    assert days == sorted(days), "its days count, its outcomes do not"
    made.check()


def test_a_way_of_measuring_that_lies_ends_before_the_first_risk() -> None:
    made = world([("aa", "3d"), (5, "1d"), (50, "1d"), 100])
    state = made.look(made.begin(), day=False)
    made.metrics.means["1"] = 0.2
    honest = made.metrics._mean
    made.metrics._mean = lambda variant: honest(variant) + 0.1  # type: ignore[method-assign]
    end = made.run(state)
    assert end.state == ROLLED_BACK
    assert end.reason.startswith("invalid: the champion differs from itself")
    assert end.weights == ()
    made.check()


def test_of_several_challengers_the_best_that_is_shown_is_promoted() -> None:
    made = world([(5, "1d"), (25, "2d"), 100], challengers=3)
    made.metrics.means = {"2": 0.15, "3": 0.1, "4": 0.2}
    end = made.run(made.begin(others=(THREE, FOUR)))
    assert (end.state, end.chosen, end.candidate["version"]) == (PROMOTED, "challenger-2", "3")
    assert made.traffic.champion["version"] == "3"
    assert divisions(made) == [
        ("234", 0.0, False),
        ("234", 5.0, False),
        ("234", 25.0, False),
        ("3", 100.0, False),
        ("", 0.0, False),
    ]
    assert RolloutState.from_dict(parse(end.to_dict()).to_dict()) == end
    made.check()


def test_one_that_shows_harm_is_stopped_and_the_others_go_on() -> None:
    made = world([(5, "1d"), (25, "2d"), 100], challengers=2)
    made.metrics.means = {"2": 0.5, "3": 0.1}
    state = made.begin(others=(THREE,))
    while not state.stopped and state.live:
        state = made.look(state)
    assert list(state.stopped) == ["challenger"]
    assert made.traffic.stopped == ("challenger",)
    end = made.run(state)
    assert (end.state, end.candidate["version"]) == (PROMOTED, "3")
    made.check()


def test_all_that_show_harm_end_it() -> None:
    made = world([(5, "1d"), (25, "2d"), 100], challengers=2)
    made.metrics.means = {"2": 0.5, "3": 0.45}
    end = made.run(made.begin(others=(THREE,)))
    assert end.state == ROLLED_BACK
    made.check()


def test_pairs_of_several_challengers_and_a_ramp_of_the_best() -> None:
    made = world([("shadow", "6d"), (10, "1d"), 100], challengers=2, design="paired_shadow")
    made.metrics.means = {"2": 0.15, "3": 0.1}
    end = made.run(made.begin(others=(THREE,)))
    assert (end.state, end.chosen) == (PROMOTED, "challenger-2")
    assert ("3", 10.0, False) in divisions(made)
    made.check()


@pytest.mark.parametrize(("means", "outcome"), [((0.1, 0.15), CONCLUDED), ((0.1, 0.2), CONCLUDED), ((0.2, 0.2), None)])
def test_a_comparison_of_several_promotes_none(means: tuple[float, float], outcome: str | None) -> None:
    made = world([(25, "2d")], challengers=2, promotes=False, max_data_days=10)
    made.metrics.means = dict(zip(("2", "3"), means, strict=True))
    end = made.run(made.begin(others=(THREE,)))
    assert end.state == (outcome or INCONCLUSIVE)
    assert made.traffic.champion == ONE
    assert end.last_look is not None
    assert [arm.arm for arm in end.last_look.arms] == ["challenger", "challenger-2"]
    made.check()


def test_a_comparison_concludes_where_it_shows_the_worse_too() -> None:
    made = world([(25, "2d")], challenger=0.4, promotes=False)
    end = made.run(made.begin())
    assert (end.state, made.traffic.champion["version"]) == (CONCLUDED, "1")
    assert "worse" in end.reason


def test_a_shadow_that_is_parked_goes_on_in_shadow() -> None:
    made = world([("shadow", "3d"), 100], challenger=0.2, design="paired_shadow", inconclusive="ask", max_data_days=5)
    state = made.run(made.begin())
    assert (state.state, made.traffic.weight_percent) == (PARKED, 0.0)
    again = made.acts.approve("flights", "prod", who="ann", why="more data")
    again = made.look(again)
    assert made.traffic.shadow
    assert again.weights == ()


def test_a_router_that_forgot_who_was_stopped_is_set_again() -> None:
    made = world([(25, "4d"), 100], challengers=2)
    made.metrics.means = {"2": 0.5, "3": 0.1}
    state = made.begin(others=(THREE,))
    while not state.stopped:
        state = made.look(state)
    made.router.write(replace(made.traffic, stopped=()))
    made.look(state, day=False)
    assert made.traffic.stopped == ("challenger",)


@pytest.mark.parametrize("kind", ["shadow", "split"])
def test_a_step_waits_for_its_units(kind: str) -> None:
    waiting = {"weight_percent": 0 if kind == "shadow" else 5, "data_days": 1, "kind": kind, "min_units": 600}
    steps = [waiting, (50, "1d"), 100] if kind == "split" else [{**waiting, "min_units": 9000}, (50, "1d"), 100]
    made = world(steps)
    state, held = made.begin(), 0
    while state.step < 1 and state.live:
        state = made.look(state)
        held += "of 600 units" in state.reason or "of 9000 units" in state.reason
    assert held >= 1
    assert made.run(state).state == PROMOTED


def test_requests_that_are_alike_are_not_taken_as_independent() -> None:
    alike = world([(20, "1d"), (50, "1d"), 100], cluster="request")
    alike.metrics.design_effect = 3.0
    end = alike.run(alike.begin())
    assert end.state == ROLLED_BACK
    assert end.reason.startswith("invalid: requests of one unit are alike, design effect 3.")
    alone = world([(20, "1d"), (50, "1d"), 100], cluster="request")
    assert alone.run(alone.begin()).state == PROMOTED
    clustered = world([(20, "1d"), (50, "1d"), 100])
    clustered.metrics.design_effect = 3.0
    assert clustered.run(clustered.begin()).state == PROMOTED


def test_a_step_waits_for_the_metrics_that_it_names() -> None:
    made = world([{"weight_percent": 5, "data_days": 1, "metrics": ["brier"]}, (50, "1d"), 100], challenger=0.17)
    plain = world([(5, "1d"), (50, "1d"), 100], challenger=0.17)
    days = []
    for one in (made, plain):
        state = one.begin()
        while state.step < 1:
            state = one.look(state)
            assert state.live
        days.append(state.looks)
        assert one.run(state).state == PROMOTED
        one.check()
    assert days[0] > days[1] + 1, "at 5 % the difference takes longer to show than the step's day"


def test_a_limit_ends_what_is_better_than_the_champion_and_bad_all_the_same() -> None:
    steps: list[Any] = [(5, "1d"), (50, "1d"), 100]
    bad = world(steps, challenger=0.15, guardrails=[{"metric": "brier", "limit": 0.12}])
    end = bad.run(bad.begin())
    assert (end.state, end.reason.split(":")[0]) == (ROLLED_BACK, "The challenger breaks a guardrail")
    bad.check()
    good = world(steps, challenger=0.1, guardrails=[{"metric": "brier", "limit": 0.12}])
    end = good.run(good.begin())
    assert end.state == PROMOTED
    assert end.last_look is not None
    assert [(one.metric, one.held) for one in end.last_look.guardrails] == [("brier at most 0.12", True)]
    assert "- Guardrail `brier at most 0.12`: 0.1, held" in report(end)
    good.check()


def test_a_dry_run_that_cannot_be_read_keeps_nobody_waiting() -> None:
    steps: list[Any] = [("shadow", "1d"), (5, "1d"), (50, "1d"), 100]
    made = world(steps, guardrails=[{"metric": "mae", "decides": False}])
    made.metrics.unreadable = {"mae", "mae paired"}
    end = made.run(made.begin())
    assert end.state == PROMOTED
    assert end.last_look is not None
    assert [(one.effect, one.decides) for one in end.last_look.guardrails] == [(None, False)]
    assert "- Dry run `mae`: no effect yet, not shown either way" in report(end)
    needed = world(steps, guardrails=[("mae", 0.1)])
    needed.metrics.unreadable = {"mae"}
    with pytest.raises(MetricUnreadable):
        needed.begin()
