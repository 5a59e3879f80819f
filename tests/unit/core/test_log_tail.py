"""Each line of a growing log is told once, however its end is looked at."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.log_tail import REMEMBERED, TAIL_LINES, marks, to_show, unseen


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(60, 1000))
def test_each_line_is_told_once_and_in_order(steps: list[int], tail: int) -> None:
    log: list[str] = []
    told: list[str] = []
    seen: list[str] = []
    for step in steps:
        log += [f"line {number}" for number in range(len(log), len(log) + step)]
        told += unseen(log[-tail:], seen)
        seen = marks(log[-tail:])
    assert told == log


@given(st.lists(st.sampled_from("ab"), max_size=30), st.lists(st.sampled_from("ab"), max_size=30))
def test_no_line_that_was_seen_comes_again(before: list[str], more: list[str]) -> None:
    found = list(unseen(before + more, marks(before)))
    assert (before + more)[len(before + more) - len(found) :] == found
    assert len(found) <= len(more) or not before


def test_a_log_that_has_moved_on_is_told_as_far_as_it_is_there() -> None:
    assert unseen(["x", "y"], marks(["a", "b"])) == ["x", "y"]
    assert len(marks([str(number) for number in range(1000)])) == REMEMBERED


def test_what_no_look_saw_is_said() -> None:
    log = [str(number) for number in range(5 * TAIL_LINES)]
    seen = marks(log[:TAIL_LINES])
    fast, slow = log[-TAIL_LINES:], log[: 2 * TAIL_LINES - REMEMBERED][-TAIL_LINES:]
    assert to_show(fast, seen, "kubectl logs x") == ["(Lines before these are not shown: kubectl logs x)", *fast]
    assert to_show(slow, seen, "") == slow[REMEMBERED:]
    assert to_show(["a new pod"], seen, "") == ["a new pod"]
