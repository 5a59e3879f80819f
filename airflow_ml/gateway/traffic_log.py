"""The log of predictions and outcomes, and the sufficient statistics of a metric over it, in SQLite.

An arm is what the hash assigned a unit to, even where the champion stood in for a failing challenger: leaving such rows
out, or counting them for the champion, would undo the randomization.
"""

from __future__ import annotations

import math
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from airflow_ml.core.aliases import CHAMPION
from airflow_ml.core.arms import PAIRED_METRIC
from airflow_ml.core.fingerprint import parse_time
from airflow_ml.core.ports import Reading
from airflow_ml.core.statistics import MIN_STRATUM_UNITS
from airflow_ml.errors import MetricUnreadable
from airflow_ml.gateway import shadow_log
from airflow_ml.gateway.answer_journal import Answered, AnswerJournal, rows_of, stamp
from airflow_ml.gateway.shadow import ShadowScore
from airflow_ml.gateway.unit_sums import counts_of, samples_of
from airflow_ml.gateway.wire import Outcome

#: How long a write waits for another process that holds the file.
BUSY_SECONDS = 10.0
_SCHEMA = """
CREATE TABLE IF NOT EXISTS prediction (
  model TEXT NOT NULL, epoch INTEGER NOT NULL, key TEXT NOT NULL, unit TEXT NOT NULL, at TEXT NOT NULL,
  step TEXT NOT NULL, assigned TEXT NOT NULL, variant TEXT NOT NULL, version TEXT NOT NULL, score REAL NOT NULL,
  PRIMARY KEY (model, epoch, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS outcome (
  model TEXT NOT NULL, key TEXT NOT NULL, label REAL, known_at TEXT NOT NULL, PRIMARY KEY (model, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS watermark (
  model TEXT NOT NULL, epoch INTEGER NOT NULL, at TEXT NOT NULL, PRIMARY KEY (model, epoch)
) WITHOUT ROWID;
"""
_INSERT = "INSERT INTO prediction VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"

#: Metric name to its SQL over ``p.score`` and ``o.label``.
_METRICS: Mapping[str, str] = {
    "brier": "(p.score - o.label) * (p.score - o.label)",
    "squared_error": "(p.score - o.label) * (p.score - o.label)",
    "mae": "abs(p.score - o.label)",
    "log_loss": "log_loss(p.score, o.label)",
}
_OF_PROBABILITIES = frozenset({"brier", "log_loss"})

_JOINED = """
FROM prediction AS p LEFT JOIN outcome AS o ON o.model = p.model AND o.key = p.key
WHERE p.model = :model AND p.epoch = :epoch
"""


@dataclass(frozen=True, slots=True)
class MetricReport:
    """A reading, and the counts that explain it."""

    reading: Reading
    #: Requests per arm that the champion answered in the challenger's place.
    fallbacks: Mapping[str, int]
    #: Requests per arm that will never have an outcome.
    without_outcome: Mapping[str, int]


def log_loss(score: float, label: float | None) -> float | None:
    """Return the logarithmic loss in nats, with scores kept 1e-15 away from 0 and 1 (as scikit-learn once did).

    None without a label, as SQL's own arithmetic gives null: requests that wait for their outcome are asked, too.
    """
    if label is None:
        return None
    p = min(max(score, 1e-15), 1 - 1e-15)
    return -(label * math.log(p) + (1 - label) * math.log(1 - p))


class TrafficLog:
    """A SQLite file (WAL), and beside it the journal of answers. Each read opens its own connection.

    Answers are journaled first, and get their place in the table of predictions when somebody settles: every read
    does, for all that was answered before it.

    Args:
        directory: Of ``traffic.sqlite`` and the folder ``answered``.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / "traffic.sqlite"
        self._journal = AnswerJournal(directory / "answered")
        self._lock = threading.Lock()
        self._writer = self._open()
        # 64 MB: keys come in no order, and a page that is read again for each costs more than the key.
        self._writer.execute("PRAGMA cache_size = -65536")
        with self._writer:
            self._writer.executescript(_SCHEMA + shadow_log.SCHEMA)

    @property
    def waiting_rows(self) -> int:
        """Answered rows that have no place yet."""
        return self._journal.waiting_rows

    def append(self, answered: Answered) -> None:
        """Log an answered batch, without waiting; of a key the first answer counts, for each model and epoch."""
        self._journal.add(answered)

    def settle(self) -> None:
        """Give all rows their place that were journaled before the call."""
        for path in self._journal.ended():
            with self._lock:
                if self._journal.holds(path):  # else another thread settled it meanwhile
                    with self._writer:
                        self._writer.executemany(_INSERT, rows_of(path))
                    self._journal.remove(path)

    def append_shadow(self, scores: Sequence[ShadowScore]) -> None:
        """Log what challengers said of answered requests; of each key and arm the first one counts."""
        with self._lock, self._writer:
            self._writer.executemany(shadow_log.INSERT, scores)

    def add_outcomes(self, model: str, outcomes: Iterable[Outcome], watermark_at: datetime, *, epoch: int) -> None:
        """Store outcomes and move the watermark forward, in one transaction; the last word on a key counts.

        Args:
            model: Whose keys these are.
            outcomes: In any order; the same ones again change nothing.
            watermark_at: Data time below which every request has its outcome, or a null one. It never moves back.
            epoch: The epoch in effect. What was said before an epoch began says nothing about its requests, and a
                replay may take the same days again.
        """
        with self._lock, self._writer:
            self._writer.executemany(
                "INSERT INTO outcome VALUES (?, ?, ?, ?) "
                "ON CONFLICT DO UPDATE SET label = excluded.label, known_at = excluded.known_at "
                "WHERE excluded.known_at >= known_at",
                [(model, o.key, o.label, stamp(o.known_at)) for o in outcomes],
            )
            self._writer.execute(
                "INSERT INTO watermark VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET at = max(at, excluded.at)",
                (model, epoch, stamp(watermark_at)),
            )

    def read(self, model: str, *, metric: str, epoch: int) -> MetricReport:
        """Return the sums of a metric per arm and stratum ``<step>/<data day>``, of one epoch's traffic.

        Samples cover the data days that lie wholly below the watermark, so a stratum never changes once it is
        reported (unless an outcome is corrected); assigned units cover all days.

        A name that ends in `` paired`` asks for the differences between challengers in shadow and the champion.

        Raises:
            MetricUnreadable: an unknown metric, or a metric of probabilities over other numbers.
        """
        if metric.removesuffix(PAIRED_METRIC) not in _METRICS:
            raise MetricUnreadable("Unknown metric", repr(metric)[:80], f"Known are {', '.join(sorted(_METRICS))}.")
        self.settle()
        connection = self._open()
        try:
            connection.execute("BEGIN")  # One snapshot for all statements.
            return self._read(connection, model, metric, epoch)
        finally:
            connection.close()

    def close(self) -> None:
        """Close the files."""
        with self._lock:
            self._writer.close()
        self._journal.close()

    def _open(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self._path, timeout=BUSY_SECONDS, check_same_thread=False)
        # NORMAL: a crash of the process loses nothing, a crash of the machine at most the last commits.
        connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;")
        connection.create_function("log_loss", 2, log_loss, deterministic=True)
        return connection

    def _read(self, connection: sqlite3.Connection, model: str, metric: str, epoch: int) -> MetricReport:
        (watermark,) = connection.execute(
            "SELECT max(at) FROM watermark WHERE model = ? AND epoch >= ?", (model, epoch)
        ).fetchone()
        # Days compare as text: "2013-05-02" is above every moment of 1 May and below every one of 2 May.
        values: dict[str, str | int] = {"model": model, "epoch": epoch, "day": (watermark or "")[:10]}
        name = metric.removesuffix(PAIRED_METRIC)
        if name in _OF_PROBABILITIES:
            _check_probabilities(connection, name, values)
        if name != metric:
            pairs = shadow_log.read_pairs(connection, _METRICS[name], values, watermark)
            return MetricReport(reading=pairs, fallbacks={}, without_outcome={})
        assigned = counts_of(
            connection,
            f"SELECT p.assigned, p.step || '/' || substr(p.at, 1, 10), count(DISTINCT p.unit) {_JOINED} GROUP BY 1, 2",
            values,
        )
        in_all = counts_of(
            connection, f"SELECT p.assigned, p.step, count(DISTINCT p.unit) {_JOINED} GROUP BY 1, 2", values
        )
        counts = connection.execute(
            f"SELECT p.assigned, sum(p.variant <> p.assigned), sum(o.key IS NOT NULL AND o.label IS NULL) "
            f"{_JOINED} GROUP BY 1",
            values,
        ).fetchall()
        return MetricReport(
            reading=Reading(
                samples=tuple(samples_of(connection, _cells(metric), values)),
                watermark_at=None if watermark is None else parse_time(watermark),
                assigned=assigned,
                assigned_in_all=in_all,
                unit_squares={
                    arm: squares
                    for arm in sorted(set(assigned) - {CHAMPION})
                    if (squares := _unit_squares(connection, metric, values, arm)) is not None
                },
            ),
            fallbacks={arm: fallbacks for arm, fallbacks, _ in counts},
            without_outcome={arm: without for arm, _, without in counts},
        )


def _cells(metric: str) -> str:
    """Return the common table expression of units: arm, stratum, unit, and their sums."""
    # total() is a sum that is 0.0, not null, over nothing.
    return f"""
WITH unit AS (
  SELECT p.assigned AS arm, p.step || '/' || substr(p.at, 1, 10) AS stratum, p.unit,
    total({_METRICS[metric]}) AS x, count(o.label) AS n, sum(o.key IS NULL) AS waiting,
    total({_METRICS[metric]} * {_METRICS[metric]}) AS squares
  {_JOINED} AND p.at < :day
  GROUP BY 1, 2, 3
)"""


def _unit_squares(
    connection: sqlite3.Connection, metric: str, values: Mapping[str, str | int], challenger: str
) -> float | None:
    """Return the sum over units of their squared scores, as core/unit_scores.py defines it; None without units."""
    statement = f"""{_cells(metric)},
of_stratum AS (
  SELECT stratum, total(x) / sum(n) AS mean, total(CASE WHEN arm = :challenger THEN n END) / sum(n) AS share
  FROM unit WHERE n > 0 AND arm IN (:champion, :challenger) GROUP BY stratum
  HAVING sum(arm = :champion) >= :least AND sum(arm = :challenger) >= :least
),
score AS (
  SELECT unit, total((x - mean * n) * CASE WHEN arm = :challenger THEN 1 - share ELSE -share END) AS s
  FROM unit JOIN of_stratum USING (stratum) WHERE n > 0 AND arm IN (:champion, :challenger) GROUP BY unit
)
SELECT count(*), total(s * s) FROM score
"""  # noqa: S608 - constants; values are bound
    names = {"champion": CHAMPION, "challenger": challenger, "least": MIN_STRATUM_UNITS}
    units, squares = connection.execute(statement, {**values, **names}).fetchone()
    return float(squares) if units else None


def _check_probabilities(connection: sqlite3.Connection, metric: str, values: Mapping[str, str | int]) -> None:
    row = connection.execute(
        f"SELECT p.key, p.score, o.label {_JOINED} AND o.label IS NOT NULL "
        "AND NOT (p.score BETWEEN 0 AND 1 AND o.label BETWEEN 0 AND 1) LIMIT 1",
        values,
    ).fetchone()
    if row is not None:
        raise MetricUnreadable(
            f"{metric} needs scores and labels from 0 to 1",
            f"key {row[0]!r} has score {row[1]} and label {row[2]}",
            "Use squared_error or mae for other numbers.",
        )
