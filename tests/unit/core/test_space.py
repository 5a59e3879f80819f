"""Search spaces: what they hold, what they refuse, and that samples are pure."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.point import grid, sample
from airflow_ml.core.space import (
    Choice,
    Distribution,
    IntUniform,
    LogIntUniform,
    LogUniform,
    Uniform,
    When,
    dependence_order,
    from_dict,
    parse_space,
    space_to_dict,
)
from airflow_ml.errors import InvalidSpace

finite = st.floats(-1e9, 1e9, allow_nan=False)
positive = st.floats(1e-9, 1e9)


@st.composite
def distributions(draw: Any) -> Distribution:
    kind = draw(st.sampled_from([Uniform, LogUniform, IntUniform, LogIntUniform, Choice]))
    if kind is Choice:
        values = draw(st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5)), min_size=1))
        return Choice(*{json.dumps(value): value for value in values}.values())
    numbers = {Uniform: finite, LogUniform: positive, IntUniform: st.integers(-1000, 1000)}
    low, high = sorted(draw(st.lists(numbers.get(kind, st.integers(1, 1000)), min_size=2, max_size=2, unique=True)))
    return kind(low, high)


@given(distributions(), st.floats(0, 1, exclude_max=True))
def test_every_position_gives_a_value_that_the_distribution_contains(distribution, unit):
    assert distribution.contains(distribution.at(unit))


@given(st.dictionaries(st.text(min_size=1, max_size=5), distributions(), min_size=1, max_size=4))
def test_the_wire_form_is_json_and_comes_back(space):
    wire = json.loads(json.dumps(space_to_dict(space)))
    assert parse_space(wire) == space
    assert sample(wire, "a") == sample(space, "a")
    assert all(from_dict(wire[name]) == item for name, item in space.items())


@given(distributions())
def test_the_ends_are_reached(distribution):
    points = distribution.points()
    if points is not None and len(points) < 300:
        steps = 1000
        seen = [distribution.at(index / steps) for index in range(steps)]
        assert {json.dumps(value) for value in seen} <= {json.dumps(value) for value in points}
        assert distribution.at(0.0) == points[0]
        assert distribution.at(1 - 2**-53) == points[-1]


def test_samples_follow_their_distribution():
    space = {"log": LogUniform(0.01, 100), "int": IntUniform(0, 3), "pick": Choice("a", "b")}
    points = [sample(space, "seed", str(index)) for index in range(4000)]
    logs = [math.log10(point["log"]) for point in points]
    assert abs(sum(logs) / len(logs)) < 0.08  # standard error 0.018
    assert abs(sum(point["int"] == 3 for point in points) / 4000 - 0.25) < 0.03
    assert abs(sum(point["pick"] == "b" for point in points) / 4000 - 0.5) < 0.04


def test_a_sample_is_the_same_in_another_process():
    code = (
        "from airflow_ml.core.space import *; from airflow_ml.core.point import sample; import json;"
        "space = {'a': LogUniform(.01, .3), 'b': IntUniform(2, 12), 'c': Choice('x', 'y')};"
        "print(json.dumps(sample(space, '7', 'EWR')))"
    )
    out = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in "ab"
    }
    space = {"a": LogUniform(0.01, 0.3), "b": IntUniform(2, 12), "c": Choice("x", "y")}
    assert [json.loads(text) for text in out] == [sample(space, "7", "EWR")]


def test_another_parameter_leaves_the_others():
    space = {"a": Uniform(0, 1)}
    assert sample({**space, "b": Uniform(0, 1)}, "s")["a"] == sample(space, "s")["a"]


def test_grid_is_the_whole_product():
    points = list(grid({"b": IntUniform(1, 3), "a": Choice("x", None)}))
    assert points[:2] == [{"a": "x", "b": 1}, {"a": "x", "b": 2}]
    assert len({json.dumps(point, sort_keys=True) for point in points}) == len(points) == 6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Uniform(1, 1), "low < high: low=1, high=1"),
        (lambda: Uniform(0, float("inf")), "two finite numbers"),
        (lambda: Uniform(0, "1"), "two finite numbers"),
        (lambda: LogUniform(0, 1), "needs low > 0: 0"),
        (lambda: LogIntUniform(0, 3), "needs low > 0: 0"),
        (lambda: IntUniform(0, 1.5), "needs whole numbers"),
        (lambda: IntUniform(True, False), "two finite numbers"),
        (lambda: Choice(), "A Choice of nothing"),
        (lambda: Choice(1, 1), "same value twice"),
        (lambda: Choice(object()), "not JSON"),
        (lambda: parse_space({}), "needs parameters"),
        (lambda: parse_space({"a": [1, 2]}), r"'a' has no distribution: \[1, 2\]"),
        (lambda: parse_space({1: Choice(1)}), "name must be text"),
        (lambda: from_dict({"distribution": "normal", "low": 0, "high": 1}), "Not a distribution"),
        (lambda: from_dict({"low": 0}), "Not a distribution"),
        (lambda: list(grid({"a": Uniform(0, 1)})), "finitely many values of 'a'"),
    ],
)
def test_what_cannot_be_searched_is_refused(make, said):
    with pytest.raises(InvalidSpace, match=said):
        make()


TREES = {
    "booster": Choice("gbdt", "linear"),
    "depth": When(IntUniform(2, 12), booster="gbdt"),
    "drop": When(Uniform(0, 1), booster=["gbdt", "dart"], depth=(2, 3)),
    "seed": IntUniform(0, 9),
}


@given(st.integers())
def test_a_parameter_exists_only_where_its_conditions_hold(seed):
    point = sample(TREES, str(seed))
    assert ("depth" in point) == (point["booster"] == "gbdt")
    assert ("drop" in point) == (point.get("depth") in (2, 3))
    assert list(point) == sorted(point)
    without = {name: item for name, item in TREES.items() if name != "drop"}
    assert sample(without, str(seed)) == {name: value for name, value in point.items() if name != "drop"}


def test_conditions_survive_the_wire_and_order_the_names():
    assert parse_space(json.loads(json.dumps(space_to_dict(TREES)))) == parse_space(TREES)
    order = dependence_order(parse_space(TREES))
    assert order.index("booster") < order.index("depth") < order.index("drop")


def test_the_grid_has_each_existing_point_once():
    space = {"a": Choice("x", "y"), "b": When(Choice(1, 2, 3), a="x"), "c": When(Choice(True, 1), b=1)}
    points = list(grid(space))
    assert len(points) == 5
    assert {"a": "y"} in points
    assert {"a": "x", "b": 1, "c": True} in points


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: When(Uniform(0, 1)), "needs a distribution and a condition"),
        (lambda: When(When(Uniform(0, 1), a=1), b=1), "needs a distribution and a condition"),
        (lambda: parse_space({"a": When(Uniform(0, 1), b=1)}), "depends on no parameter of the space: b"),
        (
            lambda: parse_space({"a": When(Choice(1), b=1), "b": When(Choice(1), a=1)}),
            "Parameters depend on each other",
        ),
    ],
)
def test_conditions_that_make_no_sense(make, said):
    with pytest.raises(InvalidSpace, match=said):
        make()
