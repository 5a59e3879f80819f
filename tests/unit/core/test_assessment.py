"""Argo's four outcomes and their limits, over every short sequence of looks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.assessment import (
    ERROR,
    FAIL,
    NEITHER,
    NO_LIMIT,
    NOTHING_YET,
    PASS,
    Limits,
    Tally,
    assess,
    counted,
)

PHASES = (PASS, FAIL, NEITHER, ERROR)


def tallied(*phases: str) -> Tally:
    tally = NOTHING_YET
    for phase in phases:
        tally = counted(tally, phase)
    return tally


def by_definition(phases: tuple[str, ...], limits: Limits) -> str | None:
    """The same from the whole sequence, as Argo's documentation says it."""

    def in_a_row(phase: str) -> int:
        return len(list(itertools.takewhile(lambda one: one == phase, reversed(phases))))

    if phases.count(FAIL) > limits.failures:
        return FAIL
    if limits.errors_in_a_row >= 0 and in_a_row(ERROR) > limits.errors_in_a_row:
        return ERROR
    if in_a_row(PASS) >= limits.successes_in_a_row:
        return PASS
    if limits.inconclusive >= 0 and phases.count(NEITHER) > limits.inconclusive:
        return NEITHER
    return None


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(failures=1),
        Limits(successes_in_a_row=2),
        Limits(inconclusive=1, errors_in_a_row=1, successes_in_a_row=3, failures=2),
        Limits(inconclusive=0, errors_in_a_row=0),
    ],
)
def test_every_sequence_of_up_to_six_looks(limits: Limits) -> None:
    for length in range(7):
        for phases in itertools.product(PHASES, repeat=length):
            assert assess(tallied(*phases), limits) == by_definition(phases, limits), phases


def test_failure_beats_everything() -> None:
    limits = Limits(errors_in_a_row=0, inconclusive=0)
    assert assess(tallied(FAIL, NEITHER, PASS), limits) == FAIL
    assert assess(tallied(FAIL, ERROR), limits) == FAIL


def test_looking_again_at_the_same_outcomes_is_no_second_look() -> None:
    tally = counted(tallied(FAIL, NEITHER), FAIL, new=False)
    assert (tally.failures, tally.inconclusive) == (1, 1)
    assert counted(tallied(PASS), PASS, new=False).successes_in_a_row == 1
    assert counted(NOTHING_YET, ERROR, new=False).errors_in_a_row == 1


def test_no_look_is_no_success() -> None:
    assert assess(NOTHING_YET, Limits(successes_in_a_row=0)) is None
    assert Limits().inconclusive == Limits().errors_in_a_row == NO_LIMIT


def test_an_unknown_phase_is_refused() -> None:
    with pytest.raises(ValueError, match="maybe"):
        counted(NOTHING_YET, "maybe")


@given(st.lists(st.sampled_from(PHASES), max_size=30), st.integers(0, 5))
def test_more_failures_never_help(phases: list[str], failures: int) -> None:
    limits = Limits(failures=failures)
    if assess(tallied(*phases), limits) == FAIL:
        assert assess(tallied(*phases, *PHASES), limits) == FAIL
