from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from airflow_ml.core.bootstrap import concordant_pairs, expanded_tail, paired_harm, t_quantile
from airflow_ml.core.metrics import METRICS, auc, metric
from airflow_ml.errors import ConfigurationError

PROBABILITIES = st.sampled_from([0.0, 0.2, 0.4, 0.6, 0.9])


def rows(days: int, per_day: int, seed: int = 0) -> tuple[list[int], list[float], list[str]]:
    draw = random.Random(seed)
    label, score, cluster = [], [], []
    for day in range(days):
        shift = draw.gauss(0, 0.1)
        for _ in range(per_day):
            chance = min(max(draw.betavariate(2, 4) + shift, 0.01), 0.99)
            label.append(int(draw.random() < chance))
            score.append(chance)
            cluster.append(f"d{day:03}")
    return label, score, cluster


@pytest.mark.parametrize("freedom", [4, 5, 8, 13, 30, 200])
def test_t_quantile(freedom: int) -> None:
    for probability, tolerance in ((0.9, 3e-3), (0.95, 3e-3), (0.975, 3e-3), (0.995, 3e-2)):
        assert t_quantile(probability, freedom) == pytest.approx(stats.t.ppf(probability, freedom), rel=tolerance)


def test_fewer_clusters_widen_the_interval() -> None:
    tails = [expanded_tail(0.05, clusters) for clusters in (5, 10, 50, 5000)]
    assert tails == sorted(tails)
    assert tails[-1] == pytest.approx(0.05, abs=1e-3)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1), PROBABILITIES, st.integers(0, 3)), min_size=1, max_size=40))
def test_pairs_of_clusters_add_up_to_auc(data: list[tuple[int, float, int]]) -> None:
    label, score, member = zip(*data, strict=True)
    total = sum(map(sum, concordant_pairs(label, score, member)))
    pairs = sum(label) * (len(label) - sum(label))
    if pairs:
        assert total / pairs == pytest.approx(auc(label, score))
    else:
        assert total == 0


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(sorted(METRICS)), st.integers(0, 10_000))
def test_bounds_are_those_of_drawing_whole_days_of_rows(name: str, seed: int) -> None:
    """The sums and pairs are an exact shortcut: draw the rows themselves and measure again."""
    label, score, cluster = rows(6, 12, seed)
    draw = random.Random(seed)
    other = [min(max(value + draw.gauss(0, 0.2), 0), 1) for value in score]
    found = paired_harm(metric(name), label, score, other, cluster, resamples=200, seed=seed)
    again = random.Random(seed)
    days = sorted(set(cluster))
    harms = []
    for _ in range(200):
        drawn = Counter(again.choices(range(6), k=6))
        picked = [at for at in range(len(label)) for _ in range(drawn[days.index(cluster[at])])]
        chosen = [[column[at] for at in picked] for column in (label, score, other)]
        one = metric(name)
        harms.append(one.sign * (one(chosen[0], chosen[1]) - one(chosen[0], chosen[2])))
    harms.sort()
    assert harms[0] - 1e-9 <= found.lower <= found.upper <= harms[-1] + 1e-9
    place = expanded_tail(0.05, 6) * 199
    low = harms[int(place)] + (place - int(place)) * (harms[int(place) + 1] - harms[int(place)])
    assert found.lower == pytest.approx(low, abs=1e-9)


def test_the_same_seed_gives_the_same_bounds() -> None:
    label, score, cluster = rows(10, 30)
    once, twice, other = (
        paired_harm(metric("brier"), label, score, [0.3] * 300, cluster, seed=seed) for seed in (1, 1, 2)
    )
    assert once == twice
    assert once.lower != other.lower


def test_bounds_cover_as_promised() -> None:
    """With days as the unit, a true harm of zero lies below the lower bound in about 5 % of worlds, not in a third."""
    label_free = random.Random(11)
    beyond = worlds = 0
    for _ in range(300):
        harms = [label_free.gauss(0, 1) for _ in range(8)]  # each day favours one model or the other, by chance
        label = [0.0] * 80
        ours = [10 + harms[at // 10] for at in range(80)]
        theirs = [10.0] * 80
        found = paired_harm(
            metric("mae"), label, ours, theirs, [f"{at // 10}" for at in range(80)], resamples=400, seed=worlds
        )
        beyond += found.lower > 0
        worlds += 1
    assert 0.02 <= beyond / worlds <= 0.09


@pytest.mark.parametrize("name", ["brier", "auc"])
def test_too_few_days(name: str) -> None:
    label, score, cluster = rows(4, 30)
    with pytest.raises(ConfigurationError, match="4, at least 5"):
        paired_harm(metric(name), label, score, score, cluster)


def test_too_many_days_for_auc() -> None:
    label, score, cluster = rows(101, 4)
    with pytest.raises(ConfigurationError, match="Use brier or log_loss"):
        paired_harm(metric("auc"), label, score, score, cluster)


def test_auc_that_is_undefined_in_many_draws() -> None:
    label = [1] + [0] * 49
    score = [at / 50 for at in range(50)]
    with pytest.raises(ConfigurationError, match="undefined in too many draws"):
        paired_harm(metric("auc"), label, score, score, [f"{at // 10}" for at in range(50)])


@pytest.mark.parametrize(("option", "value"), [("confidence", 0.5), ("confidence", 1.0), ("resamples", 199)])
def test_options_are_refused(option: str, value: float) -> None:
    label, score, cluster = rows(6, 5)
    with pytest.raises(ConfigurationError, match=option):
        paired_harm(metric("brier"), label, score, score, cluster, **{option: value})
