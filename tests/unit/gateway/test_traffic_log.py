from __future__ import annotations

import math
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.adapters.memory.router import MemoryMetrics, Request
from airflow_ml.core.ports import Reading
from airflow_ml.errors import MetricUnreadable
from airflow_ml.gateway.answer_journal import Answered
from airflow_ml.gateway.traffic_log import TrafficLog, log_loss
from airflow_ml.gateway.wire import Outcome

START = datetime(2013, 5, 1, tzinfo=UTC)


class Prediction(NamedTuple):
    """One answered row."""

    key: str = "k"
    unit: str = "N1"
    at: datetime = START + timedelta(hours=5)
    assigned: str = "champion"
    variant: str = "champion"
    score: float = 0.25
    step: str = "5"
    epoch: int = 1
    model: str = "m"


ROW = Prediction()


def batch(*rows: Prediction) -> Answered:
    """Return rows of one request."""
    first = rows[0]
    return Answered(
        model=first.model,
        epoch=first.epoch,
        step=first.step,
        versions={"champion": "1", "challenger": "2"},
        keys=[row.key for row in rows],
        units=[row.unit for row in rows],
        at=[row.at for row in rows],
        assigned=[row.assigned for row in rows],
        variants=[row.variant for row in rows],
        scores=[row.score for row in rows],
    )


def append(log: TrafficLog, *rows: Prediction) -> None:
    """Log rows, each as a request of its own."""
    for row in rows:
        log.append(batch(row))


requests = st.builds(
    lambda variant, step, unit, minute, score, fate: Request(
        epoch=1,
        key="",
        variant=variant,
        step=step,
        unit=unit,
        at=START + timedelta(minutes=minute),
        score=score,
        resolved=fate != "waiting",
        label={"late": 1.0, "on time": 0.0}.get(fate),
    ),
    st.sampled_from(["champion", "challenger"]),
    st.sampled_from(["5", "25"]),
    st.sampled_from("ABCDE"),
    st.integers(0, 4 * 24 * 60),
    st.floats(0, 1),
    st.sampled_from(["late", "on time", "cancelled", "waiting"]),
)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[TrafficLog]:
    log = TrafficLog(tmp_path)
    yield log
    log.close()


def outcome(key: str = "k", label: float | None = 1.0, hours: int = 9) -> Outcome:
    return Outcome(key, label, START + timedelta(hours=hours))


@settings(max_examples=40, deadline=None)
@given(
    st.lists(requests, min_size=1, max_size=40),
    st.integers(0, 5 * 24),
    st.sampled_from(["brier", "mae", "squared_error"]),
)
def test_sql_sums_are_the_plain_sums(made: list[Request], hours: int, metric: str) -> None:
    watermark_at = START + timedelta(hours=hours)
    twin = MemoryMetrics()
    twin.add("m", made, watermark_at=watermark_at)
    with tempfile.TemporaryDirectory() as folder:
        log = TrafficLog(Path(folder))
        predictions = [
            Prediction(f"k{n}", r.unit, r.at, r.variant, r.variant, r.score, r.step) for n, r in enumerate(made)
        ]
        append(log, *predictions)
        append(log, *predictions)
        labels = [Outcome(f"k{n}", r.label, r.at) for n, r in enumerate(made) if r.resolved]
        log.add_outcomes("m", labels, watermark_at, epoch=1)
        _assert_equal(log.read("m", metric=metric, epoch=1).reading, twin.read("m", metric=metric, epoch=1))
        log.close()


def _assert_equal(actual: Reading, expected: Reading) -> None:
    assert actual.watermark_at == expected.watermark_at
    assert actual.assigned == expected.assigned
    assert [(s.variant, s.stratum) for s in actual.samples] == [(s.variant, s.stratum) for s in expected.samples]
    for mine, theirs in zip(actual.samples, expected.samples, strict=True):
        for name in ("units", "requests", "sum_x", "sum_xx", "sum_nn", "sum_xn", "waiting"):
            assert getattr(mine, name) == pytest.approx(getattr(theirs, name), abs=1e-9), name


def test_a_key_is_logged_once_per_epoch(log: TrafficLog, tmp_path: Path) -> None:
    append(log, ROW, ROW._replace(score=0.5))
    assert log.waiting_rows == 2
    log.settle()
    append(log, ROW._replace(score=0.75), ROW._replace(epoch=2), ROW._replace(model="other"))
    log.settle()
    assert log.waiting_rows == 0
    with closing(sqlite3.connect(tmp_path / "traffic.sqlite")) as connection:
        found = connection.execute("SELECT model, epoch, key, score FROM prediction ORDER BY model, epoch").fetchall()
    assert found == [("m", 1, "k", 0.25), ("m", 2, "k", 0.25), ("other", 1, "k", 0.25)]


def test_a_row_that_the_champion_took_over_stays_in_the_arm_it_was_assigned_to(log: TrafficLog) -> None:
    append(log, ROW._replace(assigned="challenger"))
    log.add_outcomes("m", [outcome()], START + timedelta(days=2), epoch=1)
    report = log.read("m", metric="brier", epoch=1)
    assert [sample.variant for sample in report.reading.samples] == ["challenger"]
    assert report.fallbacks == {"challenger": 1}


def test_a_null_label_is_counted_and_never_measured(log: TrafficLog) -> None:
    append(log, ROW, ROW._replace(key="cancelled"))
    log.add_outcomes("m", [outcome(), outcome("cancelled", None)], START + timedelta(days=2), epoch=1)
    report = log.read("m", metric="brier", epoch=1)
    (sample,) = report.reading.samples
    assert (sample.requests, sample.waiting, sample.sum_x) == (1, 0, 0.75**2)
    assert report.without_outcome == {"champion": 1}


def test_a_correction_counts_and_an_older_word_does_not(log: TrafficLog) -> None:
    append(log, ROW)
    log.add_outcomes("m", [outcome(label=1.0, hours=9)], START + timedelta(days=2), epoch=1)
    log.add_outcomes("m", [outcome(label=0.0, hours=10)], START + timedelta(days=2), epoch=1)
    log.add_outcomes("m", [outcome(label=1.0, hours=8)], START + timedelta(days=2), epoch=1)
    (sample,) = log.read("m", metric="brier", epoch=1).reading.samples
    assert sample.sum_x == 0.25**2


def test_the_watermark_never_moves_back(log: TrafficLog) -> None:
    append(log, ROW)
    log.add_outcomes("m", [], START + timedelta(days=2), epoch=1)
    log.add_outcomes("m", [], START, epoch=1)
    assert log.read("m", metric="brier", epoch=1).reading.watermark_at == START + timedelta(days=2)


def test_what_was_said_before_an_epoch_says_nothing_about_it(log: TrafficLog) -> None:
    append(log, ROW, ROW._replace(epoch=2))
    log.add_outcomes("m", [outcome()], START + timedelta(days=9), epoch=1)
    assert log.read("m", metric="brier", epoch=2).reading.watermark_at is None
    log.add_outcomes("m", [], START + timedelta(days=1), epoch=2)
    later, earlier = (log.read("m", metric="brier", epoch=epoch).reading for epoch in (2, 1))
    assert later.watermark_at == START + timedelta(days=1)
    assert earlier.watermark_at == START + timedelta(days=9)


def test_scores_that_are_no_probabilities_make_brier_unreadable(log: TrafficLog) -> None:
    append(log, ROW._replace(score=1.5))
    log.add_outcomes("m", [outcome()], START + timedelta(days=2), epoch=1)
    for metric in ("brier", "log_loss"):
        with pytest.raises(MetricUnreadable, match=r"1\.5"):
            log.read("m", metric=metric, epoch=1)
    assert log.read("m", metric="mae", epoch=1).reading.samples[0].sum_x == 0.5


def test_log_loss(log: TrafficLog) -> None:
    append(log, ROW)
    log.add_outcomes("m", [outcome()], START + timedelta(days=2), epoch=1)
    (sample,) = log.read("m", metric="log_loss", epoch=1).reading.samples
    assert sample.sum_x == pytest.approx(-math.log(0.25))
    limit = pytest.approx(-math.log(1e-15), rel=1e-3)
    assert (log_loss(0.0, 1.0), log_loss(1.0, 0.0)) == (limit, limit)


def test_log_loss_is_read_while_outcomes_are_missing(log: TrafficLog) -> None:
    append(log, ROW, ROW._replace(key="waits", unit="N2"), ROW._replace(key="cancelled", unit="N3"))
    log.add_outcomes("m", [outcome(), outcome("cancelled", None)], START + timedelta(days=2), epoch=1)
    (sample,) = log.read("m", metric="log_loss", epoch=1).reading.samples
    assert (sample.requests, sample.waiting) == (1, 1)
    assert sample.sum_x == pytest.approx(-math.log(0.25))


def test_the_log_survives_its_process(tmp_path: Path) -> None:
    first = TrafficLog(tmp_path)
    append(first, ROW)
    second = TrafficLog(tmp_path)  # while the first never closed, as after a crash
    assert second.waiting_rows == 1
    assert second.read("m", metric="brier", epoch=1).reading.assigned == {"champion": {"5/2013-05-01": 1}}
    first.close()
    second.close()
