"""What was answered is in the journal or in its place, whatever happens between the two."""

from __future__ import annotations

import os
import signal
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.gateway import answer_journal, traffic_log
from airflow_ml.gateway.answer_journal import Answered, answered_of, stamp
from airflow_ml.gateway.batch import Batch, Row
from airflow_ml.gateway.scoring import Answers
from airflow_ml.gateway.traffic_log import TrafficLog

AT = datetime(2013, 5, 1, 10, tzinfo=UTC)


def answered(epoch: int, keys: list[str], score: float) -> Answered:
    return Answered(
        model="m",
        epoch=epoch,
        step="5",
        versions={"champion": "1", "challenger": "2"},
        keys=keys,
        units=[f"u-{key}" for key in keys],
        at=[AT + timedelta(minutes=n) for n in range(len(keys))],
        assigned=["challenger"] * len(keys),
        variants=["champion", *["challenger"] * (len(keys) - 1)],
        scores=[score + n for n in range(len(keys))],
    )


def placed(path: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM prediction ORDER BY model, epoch, key").fetchall()


batches = st.lists(
    st.tuples(st.integers(1, 2), st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6)), max_size=8
)


@settings(max_examples=20, deadline=None)
@given(batches, st.integers(1, 12), st.lists(st.booleans(), min_size=8, max_size=8))
def test_of_a_key_the_first_answer_counts_however_they_settle(
    made: list[tuple[int, list[str]]], limit: int, between: list[bool]
) -> None:
    expected: dict[tuple[int, str], tuple[object, ...]] = {}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        patch.setattr(traffic_log, "SETTLED_ROWS", limit)
        log = TrafficLog(Path(folder) / "traffic.sqlite")
        for number, ((epoch, keys), settle) in enumerate(zip(made, between, strict=False)):
            log.append([answered(epoch, keys, float(10 * number))])
            for n, key in enumerate(keys):
                variant, version = ("challenger", "2") if n else ("champion", "1")
                at = stamp(AT + timedelta(minutes=n))
                row = ("m", epoch, key, f"u-{key}", at, "5", "challenger", variant, version, 10.0 * number + n)
                expected.setdefault((epoch, key), row)
            if settle:
                log.settle()
        log.settle_all()
        assert log.waiting_rows == 0
        assert placed(Path(folder) / "traffic.sqlite") == [expected[one] for one in sorted(expected)]
        log.close()


def test_a_settling_that_fails_leaves_everything_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TrafficLog(tmp_path / "traffic.sqlite")
    log.append([answered(1, ["a", "b"], 0.0)])
    with monkeypatch.context() as patch:
        patch.setattr(answer_journal, "_INSERT", answer_journal._INSERT.replace("ON CONFLICT DO NOTHING", "; nonsense"))
        with pytest.raises((sqlite3.Error, sqlite3.Warning)):
            log.settle()
    assert (log.waiting_rows, placed(tmp_path / "traffic.sqlite")) == (2, [])
    log.settle_all()
    assert [row[2] for row in placed(tmp_path / "traffic.sqlite")] == ["a", "b"]
    log.close()


def test_a_process_killed_at_any_statement_loses_nothing_that_it_said_was_logged(tmp_path: Path) -> None:
    statements = 0
    while True:
        statements += 1
        path = tmp_path / f"{statements}.sqlite"
        told, said = killed_at(path, statements)
        log = TrafficLog(path)
        log.settle_all()
        log.close()
        found = [str(row[2]) for row in placed(path)]
        assert said <= set(found) <= said | told
        if told == said and len(said) == 6:
            return  # the last statement was survived: all there are have been tried


def killed_at(path: Path, statement: int) -> tuple[set[str], set[str]]:
    """Return the keys that a process began to log and those it had logged, killed as it came to a statement."""
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ours)
            left = [statement]

            def kill(_: str) -> None:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

            log = TrafficLog(path)
            log._writer.set_trace_callback(kill)
            for number in range(3):
                keys = [f"{number}a", f"{number}b"]
                os.write(theirs, f"+{' +'.join(keys)} ".encode())
                log.append([answered(1, keys, 0.0)])
                os.write(theirs, f"={' ='.join(keys)} ".encode())
                if number:
                    log.settle_all()
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as reader:
        words = reader.read().split()
    os.waitpid(child, 0)
    return {word[1:] for word in words if word[0] == "+"}, {word[1:] for word in words if word[0] == "="}


def test_rows_without_a_score_are_not_logged() -> None:
    batch = Batch.of([Row(key, key, AT, {}) for key in "abc"])
    answers = Answers(7, "5", ["champion"] * 3, ["champion"] * 3, {"champion": "1"}, [0.5, None, 1.0], {1: "no"})
    found = answered_of("m", batch, answers)
    assert found is not None
    assert (found.keys, found.scores, found.epoch) == (["a", "c"], [0.5, 1.0], 7)
    nothing = Answers(7, "5", ["champion"], ["champion"], {"champion": "1"}, [None], {0: "no"})
    assert answered_of("m", Batch.of([Row("a", "a", AT, {})]), nothing) is None


def test_times_of_any_zone_are_stamped_in_utc() -> None:
    east = datetime(2013, 5, 2, 1, 30, tzinfo=timezone(timedelta(hours=2)))
    assert stamp(east) == "2013-05-01T23:30:00.000000Z"
