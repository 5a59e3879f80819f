"""Pauses of a request that is repeated, and answers that are asked for once."""

from __future__ import annotations

import pytest

from airflow_ml.adapters import patience
from airflow_ml.adapters.kept_answers import KeptAnswers
from airflow_ml.adapters.patience import Patience


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, which passes while one sleeps."""
    time = [100.0]
    monkeypatch.setattr(patience.time, "monotonic", lambda: time[0])
    return time


def pauses(clock: list[float], of: Patience, asked: float | None = None) -> list[float]:
    found = []
    before = clock[0]
    while of.wait(asked):
        found.append(clock[0] - before)
        before = clock[0]
    return found


def test_pauses_grow_up_to_a_bound_and_end_with_the_deadline(clock: list[float]) -> None:
    def sleep(seconds: float) -> None:
        clock[0] += seconds

    found = pauses(clock, Patience(60.0, sleep))
    assert all(0.5 * most <= pause <= most for pause, most in zip(found, [0.5, 1, 2, 4, 8, *[15.0] * 9], strict=False))
    assert 30 < sum(found) <= 60
    assert pauses(clock, Patience(60.0, sleep), 25.0) == [25.0, 25.0]
    assert pauses(clock, Patience(0.0, sleep)) == []


def test_an_answer_is_kept_while_nothing_changes_and_the_oldest_is_forgotten() -> None:
    kept: KeptAnswers[int] = KeptAnswers(most=2)
    asked: list[str] = []

    def answer(about: str, state: object) -> int:
        return kept.get(about, state, lambda: asked.append(about) or len(asked))  # type: ignore[func-returns-value]

    assert [answer("a", 1), answer("a", 1), answer("a", 2), answer("b", 1)] == [1, 1, 2, 3]
    assert answer("c", 1) == 4
    assert (answer("b", 1), answer("c", 1)) == (3, 4)
    assert answer("a", 2) == 5
