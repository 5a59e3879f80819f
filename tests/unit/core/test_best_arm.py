from __future__ import annotations

import numpy as np
import pytest

from airflow_ml.core.best_arm import best_of, compare_arms, lost_arms
from airflow_ml.core.ports import Sample
from airflow_ml.core.statistics import confidence_sequence, effect_of


def arm(variant: str, mean: float, units: int = 2000, stratum: str = "25/2013-05-01") -> Sample:
    return Sample(
        variant=variant,
        stratum=stratum,
        units=units,
        requests=units,
        sum_x=units * mean,
        sum_xx=units * (mean * mean + 0.04),
        sum_nn=float(units),
        sum_xn=units * mean,
    )


ARMS = [arm("champion", 0.2), arm("a", 0.16), arm("b", 0.15), arm("c", 0.25), arm("d", 0.2001)]


def test_the_best_of_those_shown_better_is_chosen() -> None:
    found = compare_arms(ARMS, champion="champion", challengers=["a", "b", "c", "d"])
    assert [(one.variant, one.better, one.worse) for one in found] == [
        ("a", True, False),
        ("b", True, False),
        ("c", False, True),
        ("d", False, False),
    ]
    best = best_of(found)
    assert best is not None
    assert best.variant == "b"
    assert list(lost_arms(found)) == ["c"]


def test_for_a_gain_the_other_way_round() -> None:
    found = compare_arms(ARMS, champion="champion", challengers=["a", "c"], direction="maximize")
    best = best_of(found, direction="maximize")
    assert best is not None
    assert best.variant == "c"


def test_none_shown_is_none_chosen() -> None:
    found = compare_arms([arm("champion", 0.2), arm("a", 0.199)], champion="champion", challengers=["a", "missing"])
    assert best_of(found) is None
    assert (found[1].effect, found[1].p_value, found[1].interval) == (None, 1.0, ())


def test_one_challenger_is_the_ordinary_test() -> None:
    (one,) = compare_arms(ARMS, champion="champion", challengers=["a"])
    effect = effect_of(ARMS, champion="champion", challenger="a")
    assert effect is not None
    assert one.interval == confidence_sequence(effect, alpha=0.05, tau_requests=100.0)


def test_few_units_show_nothing() -> None:
    few = [arm("champion", 0.2, 90), arm("a", 0.0, 90)]
    (one,) = compare_arms(few, champion="champion", challengers=["a"])
    assert not one.better


@pytest.mark.parametrize("challengers", [[], ["champion"], ["a", "a"]])
def test_what_is_no_test_is_refused(challengers: list[str]) -> None:
    with pytest.raises(ValueError, match="Not the arms"):
        compare_arms(ARMS, champion="champion", challengers=challengers)


def test_four_equal_arms_are_rarely_called_different_however_often_one_looks() -> None:
    rng = np.random.default_rng(7)
    runs, wrong = 120, 0
    names = ["champion", "a", "b", "c", "d"]
    for _ in range(runs):
        sums = {name: np.zeros(3) for name in names}
        for _ in range(30):
            for name in names:
                x = rng.normal(0.3, 1, 50)
                sums[name] += (50, x.sum(), (x * x).sum())
            samples = [
                Sample(
                    variant=name,
                    stratum="20/d",
                    units=int(n),
                    requests=int(n),
                    sum_x=float(x),
                    sum_xx=float(xx),
                    sum_nn=float(n),
                    sum_xn=float(x),
                )
                for name, (n, x, xx) in sums.items()
            ]
            found = compare_arms(samples, champion="champion", challengers=names[1:])
            if any(one.better or one.worse for one in found):
                wrong += 1
                break
    assert wrong / runs <= 0.05
