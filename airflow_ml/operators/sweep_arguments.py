"""What the arguments of a sweep must be, as far as it shows when the DAG file is parsed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_ml.core import argument_rules as rules
from airflow_ml.core.direction import DIRECTIONS, check_direction
from airflow_ml.core.sampler import read_choice
from airflow_ml.core.space import parse_space


def _read_sampler(value: Any) -> None:
    read_choice(value, kind="Sampler")


def _read_pruner(value: Any) -> None:
    read_choice(value, kind="Pruner")


def _read_directions(also: Any) -> None:
    for name, direction in also.items():
        check_direction(direction, of=name)


#: By the names of `PlanSweepOperator`.
RULES = {
    "data": rules.record("FeatureSet"),
    "space": rules.either("a mapping of distributions", Mapping, read=parse_space, optional=True),
    "trials": rules.either("a list of parameters, or such lists by group", list, Mapping, optional=True),
    "by": rules.text(optional=True),
    "trials_per_group": rules.number(least=1, whole=True),
    "sampler": rules.either("the name of a sampler, or one of Optuna's", str, Mapping, read=_read_sampler),
    "pruner": rules.either("the name of a pruner, or one of Optuna's", str, Mapping, read=_read_pruner, optional=True),
    "batch_size": rules.number(least=1, whole=True, optional=True),
    "metric": rules.text(),
    "direction": rules.one_of(*DIRECTIONS),
    "also": rules.either("minimize or maximize by metric", Mapping, read=_read_directions, optional=True),
    "keep_top": rules.number(least=0, whole=True),
    "seed": rules.number(whole=True),
    "timeout_seconds": rules.number(above=0),
    "max_train_rows": rules.number(least=0, whole=True, optional=True),
    "min_success_fraction": rules.number(least=0, most=1),
    "warm_start": rules.either("True, False or a Leaderboard", bool, Mapping),
    "max_shards": rules.number(least=1, whole=True),
    "max_active_shards": rules.number(least=1, whole=True, optional=True),
    "constants": rules.mapping(),
}
