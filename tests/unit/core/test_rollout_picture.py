"""The picture of a rollout is well-formed, stays within its frame, and carries no text of anybody's as markup."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.plan_check import parse_plan
from airflow_ml.core.rollout_change import created
from airflow_ml.core.rollout_look import Look
from airflow_ml.core.rollout_picture import rollout_picture
from airflow_ml.core.rollout_state import RolloutState

START = datetime(2013, 5, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def state(outcome: str = "running", reason: str = "because", model: str = "m", **plan: Any) -> RolloutState:
    begun = created(
        None,
        plan=parse_plan([(5, "2d"), (50, "1d"), 100], **plan),
        model=model,
        namespace="prod",
        champion={"version": "1"},
        challenger={"version": "2"},
        owner="o",
        now=START,
        lease_seconds=180,
    )
    return replace(begun, state=outcome, reason=reason)


def look(number: int, day: float, effect: float | None, half: float = 0.1, **changes: Any) -> Look:
    facts: dict[str, Any] = {
        "at": START,
        "watermark_at": START + timedelta(days=day),
        "step": 0,
        "weight_percent": 5.0,
        "action": "hold",
        "reason": "r",
        "effect": effect,
        "interval": () if effect is None else (effect - half, effect + half),
        "units": {"champion": 500, "challenger": 40 * number},
        "data_days": day,
    }
    return Look(number=number, **{**facts, **changes})


ADVANCE: dict[str, Any] = {"action": "advance", "step": -1}


def drawn(rollout: RolloutState, looks: list[Look]) -> ET.Element:
    return ET.fromstring(rollout_picture(rollout, looks))


def texts(root: ET.Element) -> list[str]:
    return ["".join(node.itertext()) for node in root.iter(f"{SVG}text")]


def test_steps_effect_interval_and_decision_are_there() -> None:
    looks = [
        look(1, 0.0, None, **ADVANCE),
        *(look(n, n - 1.0, -0.05 / n, 0.3 / n) for n in range(2, 6)),
        look(6, 5.0, -0.06, 0.04, action="advance"),
        look(7, 6.0, -0.05, 0.03, step=1, weight_percent=50.0, action="roll_back"),
    ]
    root = drawn(state("rolled_back", "The challenger is worse"), looks)
    said = texts(root)
    assert {"m: version 2 against 1", "rolled back", "The challenger is worse", "5 %", "50 %"} <= set(said)
    assert "100 %" not in said, "a step that was never reached"
    assert any("2013-05-01 to 2013-05-07" in text for text in said)
    assert len(list(root.iter(f"{SVG}polygon"))) == 1
    circles = list(root.iter(f"{SVG}circle"))
    hollow = [c for c in circles if c.get("fill") == "#ffffff"]
    assert len(hollow) == 2, "one look before 100 units of each arm, and the legend"


@pytest.mark.parametrize(
    ("direction", "above"), [("minimize", "↑ challenger worse"), ("maximize", "↑ challenger better")]
)
def test_which_side_is_good_follows_the_direction(direction: str, above: str) -> None:
    assert above in texts(drawn(state(direction=direction), [look(1, 1.0, 0.1)]))


def test_a_margin_is_drawn_on_the_side_of_harm() -> None:
    plan: dict[str, Any] = {"hypothesis": "non_inferiority", "margin": 0.02}
    assert "margin +0.02" in texts(drawn(state(**plan), [look(1, 1.0, 0.1)]))
    assert "margin -0.02" in texts(drawn(state(**plan, direction="maximize"), [look(1, 1.0, 0.1)]))


def test_without_an_effect_it_says_so() -> None:
    assert "No effect could be estimated" in texts(drawn(state("inconclusive"), [look(1, 0.0, None, **ADVANCE)]))
    assert "No effect could be estimated" in texts(drawn(state(), []))


def test_thousands_of_looks_stay_a_small_picture() -> None:
    looks = [look(1, 0.0, None, **ADVANCE), *(look(n, n / 1440, 0.01) for n in range(2, 30_000))]
    text = rollout_picture(state("inconclusive"), looks)
    assert len(text) < 40_000
    assert "<circle" in text, "the decision"


NUMBERS = st.floats(-1e300, 1e300) | st.none()


@given(
    st.text(),
    st.text(),
    st.lists(st.tuples(st.floats(0, 1e4), NUMBERS, st.floats(0, 1e300)), max_size=8),
    st.sampled_from(["running", "promoted", "rolled_back", "conflict"]),
)
def test_any_text_and_any_numbers_give_a_well_formed_picture(
    model: str, reason: str, rows: list[tuple[float, float | None, float]], outcome: str
) -> None:
    looks = [look(n, day, effect, half) for n, (day, effect, half) in enumerate(rows, 1)]
    root = drawn(state(outcome, reason, model), looks)
    assert {node.tag.removeprefix(SVG) for node in root.iter()} <= {
        *("svg", "title", "desc", "clipPath", "rect", "text", "line", "g", "polygon", "polyline", "circle")
    }
    for node in root.iter():
        assert not {name for name in node.attrib if name.startswith("on") or "href" in name}
        assert "nan" not in " ".join(node.attrib.values())
        assert "inf" not in " ".join(node.attrib.values())


def test_each_way_of_comparing_has_its_own_line_and_name() -> None:
    kinds = ["aa", "aa", "shadow", "shadow", "split", "split"]
    looks = [look(n, float(n), -0.1, kind=kind, action="hold") for n, kind in enumerate(kinds)]
    looks[1] = replace(looks[1], action="advance", step=0)
    careful = state()
    plan = parse_plan([("aa", "1d"), ("shadow", "1d"), (5, "2d"), (50, "1d"), 100])
    picture = ET.fromstring(rollout_picture(replace(careful, plan=plan), looks))
    lines = [one for one in picture.iter(f"{SVG}polyline") if one.get("stroke-width") == "2"]
    assert len(lines) == 3
    assert "shadow" in "".join(picture.itertext())
