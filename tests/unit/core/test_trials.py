"""Plans: an exact cover, pure, and friendly to changes."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.shards import shard_count, shard_ref
from airflow_ml.core.space import Choice, IntUniform, LogUniform, Uniform
from airflow_ml.core.trials import PlannedTrial, TrialResult, plan_trials, sweep_identity, trial_lines
from airflow_ml.errors import InvalidSpace

SPACE = {"lr": LogUniform(0.01, 0.3), "depth": IntUniform(2, 12)}


@given(st.integers(1, 30), st.integers(1, 12), st.integers(1, 250), st.integers(0, 99))
def test_every_trial_is_in_exactly_one_shard_and_no_shard_is_empty(groups, per_group, shards, seed):
    names = [f"g{index}" for index in range(groups)]
    trials = plan_trials(space=SPACE, groups=names, trials_per_group=per_group, seed=seed, shards=shards)
    assert len({trial.trial for trial in trials}) == len(trials) == groups * per_group
    assert [trial.trial for trial in trials] == sorted(trial.trial for trial in trials)
    assert Counter(trial.group for trial in trials) == dict.fromkeys(names, per_group)
    count = min(shards, len(trials))
    sizes = Counter(trial.shard for trial in trials)
    assert sorted(sizes) == list(range(count))
    if groups >= count:
        assert all(len({trial.shard for trial in trials if trial.group == name}) == 1 for name in names)
        assert max(sizes.values()) - min(sizes.values()) <= per_group
    else:
        assert max(sizes.values()) - min(sizes.values()) <= 1


@given(st.integers(0, 2**31), st.integers(1, 40), st.integers(1, 40))
def test_parameters_and_seeds_do_not_depend_on_the_shards(seed, first, second):
    plans = [
        plan_trials(space=SPACE, groups=["a", "b"], trials_per_group=5, seed=seed, shards=shards)
        for shards in (first, second)
    ]
    assert [(t.trial, t.group, t.params, t.seed) for t in plans[0]] == [
        (t.trial, t.group, t.params, t.seed) for t in plans[1]
    ]


def test_more_trials_keep_the_first_ones():
    few, many = (plan_trials(space=SPACE, groups=["a"], trials_per_group=n, seed=7, shards=1) for n in (3, 9))
    assert [(t.params, t.seed) for t in many[:3]] == [(t.params, t.seed) for t in few]
    assert len({t.seed for t in many}) == 9


def test_trial_ids_sort_as_numbers_above_a_hundred_thousand():
    trials = plan_trials(space=SPACE, groups=["a"], trials_per_group=100_001, seed=1, shards=7)
    assert trials[0].trial == "t000000"
    assert trials[-1].trial == "t100000"


def test_warm_start_comes_first_and_keeps_to_the_space():
    earlier = [{"lr": 0.05, "depth": 3, "gone": 1}, {"lr": 9.0, "depth": 4}, {"depth": 5.5}]
    fresh = plan_trials(space=SPACE, groups=["a", "b"], trials_per_group=4, seed=1, shards=1)
    warm = plan_trials(
        space=SPACE, groups=["a", "b"], trials_per_group=4, seed=1, shards=1, warm_start={"a": earlier, "z": earlier}
    )
    assert warm[0].params == {"lr": 0.05, "depth": 3}
    assert warm[1].params == {"lr": fresh[1].params["lr"], "depth": 4}
    assert warm[2:] == fresh[2:]
    short = plan_trials(space=SPACE, groups=["a"], trials_per_group=1, seed=1, shards=1, warm_start={"a": earlier})
    assert [trial.params for trial in short] == [{"lr": 0.05, "depth": 3}]


def test_the_grid_gives_each_group_every_point():
    space = {"a": Choice(1, 2), "b": IntUniform(0, 2)}
    trials = plan_trials(space=space, groups=["x", "y"], trials_per_group=None, sampler="grid", seed=0, shards=2)
    assert len(trials) == 12
    assert {json.dumps(t.params) for t in trials if t.group == "x"} == {
        json.dumps(t.params) for t in trials if t.group == "y"
    }


def test_listed_trials_are_what_is_tried_and_nothing_else():
    lists = {"x": [{"a": 1}, {"a": 2}], "y": [{"b": [1]}]}
    trials = plan_trials(
        space={}, groups=["x", "y"], trials_per_group=None, sampler="listed", seed=0, shards=2, points=lists
    )
    assert [(trial.group, trial.params) for trial in trials] == [("x", {"a": 1}), ("x", {"a": 2}), ("y", {"b": [1]})]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"groups": []}, "needs groups"),
        ({"groups": ["a", "a"]}, "each once"),
        ({"trials_per_group": 0}, "trials_per_group >= 1"),
        ({"trials_per_group": None}, "trials_per_group >= 1"),
        ({"shards": 0}, "at least one shard"),
        ({"sampler": "tpe", "trials_per_group": 0}, "tpe sampler needs trials_per_group >= 1"),
        ({"sampler": "grid"}, "finitely many"),
        ({"sampler": "grid", "space": {"a": IntUniform(0, 9)}}, "10 points, more than trials_per_group: 3"),
        ({"space": {}}, "needs parameters"),
    ],
)
def test_what_cannot_be_planned_is_refused(options, said):
    good = {"space": {"a": Uniform(0, 1)}, "groups": ["g"], "trials_per_group": 3, "seed": 1, "shards": 1}
    with pytest.raises(InvalidSpace, match=said):
        plan_trials(**{**good, **options})


def identity_of(**changes: object) -> str:
    arguments = {
        "function": "f", "data": "d", "space": SPACE, "by": "origin", "groups": ["a"], "trials_per_group": 3,
        "sampler": "random", "seed": 7, "metric": "brier", "direction": "minimize", "timeout_seconds": 600,
        "max_train_rows": None, "constants": {}, "environment": "e", "namespace": "prod", "warm_start": None,
    }  # fmt: skip
    assert set(changes) <= set(arguments)
    return sweep_identity(**{**arguments, **changes})


def test_the_identity_changes_with_everything_that_matters():
    changes = [
        {"function": "g"}, {"data": "e"}, {"space": {"lr": LogUniform(0.01, 0.4)}}, {"by": None}, {"groups": ["b"]},
        {"trials_per_group": 4}, {"sampler": "grid"}, {"seed": 8}, {"metric": "auc"}, {"direction": "maximize"},
        {"timeout_seconds": 601}, {"max_train_rows": 5}, {"constants": {"a": 1}}, {"environment": "f"},
        {"namespace": "dev"}, {"warm_start": {"a": [{"lr": 0.1}]}},
    ]  # fmt: skip
    found = [identity_of(), *(identity_of(**change) for change in changes)]
    assert len(set(found)) == len(found)
    assert identity_of(warm_start={}) == identity_of() == identity_of(timeout_seconds=600.0)


@given(st.text(max_size=20), st.floats(allow_nan=False, allow_infinity=False), st.floats(0, 1e6))
def test_results_and_trials_come_back_from_json(text, value, seconds):
    result = TrialResult(
        trial="t1", status="failed", metrics={"m": value}, reason=text, seconds=seconds, reports=((1.0, value),)
    )
    assert TrialResult.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    trial = PlannedTrial(trial="t1", group=text, shard=3, params={"a": value}, seed=4)
    (line,) = trial_lines([trial]).splitlines()
    assert PlannedTrial.from_dict(json.loads(line)) == trial


@given(st.integers(1, 30_000), st.integers(0, 10_000), st.integers(1, 500))
def test_the_number_of_shards(units, slots, max_shards):
    count = shard_count(units, slots=slots, max_shards=max_shards)
    assert 1 <= count <= min(units, max_shards, 200)
    assert count == min(units, max_shards, 200, 4 * max(1, slots))


def test_shards_of_different_plans_do_not_share_a_ref():
    assert shard_ref("sha256:ab", 3, 40) == "sweeps/ab/0003-of-0040"
    assert shard_ref("sha256:ab", 3, 41) != shard_ref("sha256:ab", 3, 40)
