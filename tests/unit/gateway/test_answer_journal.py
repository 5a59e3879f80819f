"""What was answered is in the journal or in its place, whatever happens between the two."""

from __future__ import annotations

import os
import resource
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


def placed(folder: Path) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(folder / "traffic.sqlite")) as connection:
        return connection.execute("SELECT * FROM prediction ORDER BY model, epoch, key").fetchall()


def keys(path: Path) -> list[str]:
    return [str(row[2]) for row in placed(path)]


batches = st.lists(
    st.tuples(st.integers(1, 2), st.lists(st.sampled_from("abcdef"), min_size=1, max_size=6)), max_size=8
)


@settings(max_examples=20, deadline=None)
@given(batches, st.integers(1, 12), st.lists(st.booleans(), min_size=8, max_size=8))
def test_of_a_key_the_first_answer_counts_however_they_settle(
    made: list[tuple[int, list[str]]], limit: int, between: list[bool]
) -> None:
    expected: dict[tuple[int, str], tuple[object, ...]] = {}
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as name:
        patch.setattr(answer_journal, "FILE_ROWS", limit)
        folder = Path(name)
        log = TrafficLog(folder)
        for number, ((epoch, keys), settle) in enumerate(zip(made, between, strict=False)):
            log.append(answered(epoch, keys, float(10 * number)))
            for n, key in enumerate(keys):
                variant, version = ("challenger", "2") if n else ("champion", "1")
                at = stamp(AT + timedelta(minutes=n))
                row = ("m", epoch, key, f"u-{key}", at, "5", "challenger", variant, version, 10.0 * number + n)
                expected.setdefault((epoch, key), row)
            if settle:
                log.settle()
        assert log.waiting_rows <= sum(len(keys) for _, keys in made)
        log.settle()
        assert log.waiting_rows == 0
        assert len(list((folder / "answered").iterdir())) == 1, "the file that is written next"
        assert placed(folder) == [expected[one] for one in sorted(expected)]
        log.close()


def test_a_settling_that_fails_leaves_everything_in_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = TrafficLog(tmp_path)
    log.append(answered(1, ["a", "b"], 0.0))
    with monkeypatch.context() as patch:
        patch.setattr(traffic_log, "_INSERT", traffic_log._INSERT.replace("ON CONFLICT DO NOTHING", "; nonsense"))
        with pytest.raises((sqlite3.Error, sqlite3.Warning)):
            log.settle()
    assert (log.waiting_rows, keys(tmp_path)) == (2, [])
    log.settle()
    assert (log.waiting_rows, keys(tmp_path)) == (0, ["a", "b"])
    log.close()


def test_a_line_that_a_crash_cut_short_takes_no_other_with_it(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path)
    for number in range(3):
        log.append(answered(1, [f"{number}a", f"{number}b"], 0.0))
    log.close()
    (path,) = (tmp_path / "answered").iterdir()
    whole = path.read_bytes()
    second, third = (at for at, byte in enumerate(whole) if byte == 10 and at)
    ends = {at + near for at in (second, third) for near in (-1, 0, 1)}
    for end in {*range(0, len(whole), 29), *ends}:
        cut = tmp_path / str(end)
        (cut / "answered").mkdir(parents=True)
        (cut / "answered" / path.name).write_bytes(whole[:end])
        log = TrafficLog(cut)
        log.append(answered(1, ["next"], 0.0))
        count = 2 * ((end >= second) + (end >= third))
        assert log.waiting_rows == count + 1
        log.settle()
        log.close()
        assert keys(cut) == [*("0a", "0b", "1a", "1b")[:count], "next"]


def test_on_a_full_disk_what_was_not_written_whole_is_an_error_and_no_row(tmp_path: Path) -> None:
    log = TrafficLog(tmp_path)
    log.append(answered(1, ["a"], 0.0))
    (path,) = (tmp_path / "answered").iterdir()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 20, before[1]))
        for key in "bc":  # the first has room for 20 bytes, the second for none
            with pytest.raises(OSError, match=r"could not be written whole|File too large"):
                log.append(answered(1, [key], 0.0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    log.append(answered(1, ["d"], 0.0))
    assert log.waiting_rows == 2
    log.settle()
    assert (log.waiting_rows, keys(tmp_path)) == (0, ["a", "d"])
    log.close()


def test_a_process_killed_at_any_statement_loses_nothing_that_it_said_was_logged(tmp_path: Path) -> None:
    """Nor is a row counted twice that settled, and was still in the journal when the process was killed."""
    moments = 0
    while True:
        moments += 1
        folder = tmp_path / str(moments)
        folder.mkdir()
        told, said = killed_at(folder, moments)
        log = TrafficLog(folder)
        log.settle()
        log.close()
        found = keys(folder)
        assert said <= set(found) <= said | told
        if told == said and len(said) == 6:
            return  # the last moment was survived: all there are have been tried


def killed_at(folder: Path, moment: int) -> tuple[set[str], set[str]]:
    """Return the keys that a process began to log and those it had logged, killed as it came to a statement.

    To remove a file of the journal counts as one.
    """
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(ours)
            left = [moment]

            def kill(_: object) -> None:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)

            log = TrafficLog(folder)
            log._writer.set_trace_callback(kill)
            remove = log._journal.remove
            log._journal.remove = lambda path: (kill(path), remove(path))[1]  # type: ignore[method-assign]
            for number in range(3):
                keys = [f"{number}a", f"{number}b"]
                os.write(theirs, f"+{' +'.join(keys)} ".encode())
                log.append(answered(1, keys, 0.0))
                os.write(theirs, f"={' ='.join(keys)} ".encode())
                if number:
                    log.settle()
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
