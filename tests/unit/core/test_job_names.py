"""Names of remote jobs: valid everywhere, and different for different jobs."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from airflow_ml.core.job_names import job_annotations, job_labels, job_name, label_value

from .compute_cases import cluster, request

DNS_LABEL = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
LABEL = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?")
PROFILE = cluster()
ids = st.text(min_size=1, max_size=250) | st.from_regex(r"[a-z_.]{1,12}", fullmatch=True)
attempts = st.tuples(ids, ids, ids, st.integers(0, 3))


def name(attempt: tuple[str, str, str, int]) -> str:
    dag, task, key, epoch = attempt
    return job_name(request(PROFILE, key=key, epoch=epoch, owner={"dag": dag, "task": task}))


@pytest.mark.fault("K13")
@given(attempts)
@example(("Prévision", "été", "k", 1))
@example(("数据", "训练", "k", 1))
@example(("9lives", "-", "k", 1))
def test_a_name_leaves_room_for_the_index_and_kubernetes_letters(attempt: tuple[str, str, str, int]) -> None:
    made = name(attempt)
    assert DNS_LABEL.fullmatch(f"{made}-99999-abcde")
    assert made == name(attempt)


@pytest.mark.fault("K13")
@given(st.lists(attempts, min_size=2, max_size=6, unique_by=lambda one: (one[2], one[3])))
@example([("d", "t", "a", 1), ("d", "t", "a", 2)])
@example([("d" * 250, "t", "a", 1), ("d" * 250, "t", "b", 1)])
@example([("a-b", "c", "k1", 1), ("a", "b-c", "k2", 1)])
def test_two_jobs_never_share_a_name(several: list[tuple[str, str, str, int]]) -> None:
    assert len({name(one) for one in several}) == len(several)


@given(st.lists(ids, min_size=2, max_size=6, unique=True))
@example(["a" * 70, "a" * 71])
@example(["train", "Train", "train "])
def test_two_texts_never_share_a_label(several: list[str]) -> None:
    values = [label_value(one) for one in several]
    assert all(LABEL.fullmatch(value) for value in values)
    assert len(set(values)) == len(several)


@given(ids)
def test_a_label_cannot_be_forged_by_a_text_that_looks_like_one(text: str) -> None:
    assert label_value(label_value(text)) == label_value(text) or label_value(text) != text
    forged = label_value(f"{text}/")
    assert label_value(forged) != forged


def test_readable_ones_stay_readable() -> None:
    asked = request(PROFILE, owner={"dag": "flights", "task": "train.shards", "map_index": "3"})
    assert re.fullmatch(r"flights-train-shards-3-[0-9a-f]{10}", job_name(asked))
    assert job_labels(asked)["airflow-ml/task"] == "train.shards"
    assert job_labels(asked)["airflow-ml/epoch"] == "1"
    assert job_annotations(asked)["airflow-ml/key"] == asked.key
