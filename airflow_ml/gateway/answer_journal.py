"""Answered batches in SQLite as they were given, until each of their rows gets its place in the table of predictions.

A batch is one row here, so logging it costs a fraction of what a hundred keys in an index do; and the index is cheaper
for many keys at once. Each step is one transaction: a crash at any moment neither loses nor doubles a row.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from operator import itemgetter
from typing import TypeVar

import msgspec

from airflow_ml.gateway.batch import Batch
from airflow_ml.gateway.scoring import Answers

Item = TypeVar("Item")

SCHEMA = """
CREATE TABLE IF NOT EXISTS answered (id INTEGER PRIMARY KEY, rows INTEGER NOT NULL, batch TEXT NOT NULL);
"""
_INSERT = "INSERT INTO prediction VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"


class Answered(msgspec.Struct, frozen=True):
    """The answered rows of one request; all lists are of one length. Stored as JSON."""

    model: str
    epoch: int
    #: The weight in effect, as ``split.step_label`` writes it.
    step: str
    #: Of each arm.
    versions: dict[str, str]
    keys: Sequence[str]
    units: Sequence[str]
    at: Sequence[datetime]
    #: The arms that the hash chose; ``variants`` are those that answered.
    assigned: Sequence[str]
    variants: Sequence[str]
    scores: Sequence[float]


def answered_of(model: str, batch: Batch, answers: Answers) -> Answered | None:
    """Return what to log of a batch: its rows that have a score; None where none has."""

    def of(values: Sequence[Item]) -> Sequence[Item]:
        return values if len(scored) == len(values) else [values[index] for index in scored]

    scored = answers.scored
    if not scored:
        return None
    return Answered(
        model=model,
        epoch=answers.epoch,
        step=answers.step,
        versions=dict(answers.versions),
        keys=of(batch.keys),
        units=of(batch.units),
        at=of(batch.at),
        assigned=of(answers.assigned),
        variants=of(answers.variants),
        scores=[score for score in answers.scores if score is not None],
    )


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Answered).decode


def add(connection: sqlite3.Connection, batches: Sequence[Answered]) -> int:
    """Log batches inside the caller's transaction; return how many rows they have."""
    connection.executemany(
        "INSERT INTO answered (rows, batch) VALUES (?, ?)", [(len(one.keys), _encode(one).decode()) for one in batches]
    )
    return sum(len(one.keys) for one in batches)


def waiting_rows(connection: sqlite3.Connection) -> int:
    """Return how many rows wait for their place."""
    (rows,) = connection.execute("SELECT total(rows) FROM answered").fetchone()
    return int(rows)


def settle(connection: sqlite3.Connection, limit_rows: int) -> int:
    """Give the oldest rows their place, inside the caller's transaction; return how many left the journal.

    Of a key that was answered twice in an epoch the first answer counts.

    Args:
        connection: In a transaction that holds the write lock already.
        limit_rows: Stop at the first batch that reaches it.
    """
    batches: list[Answered] = []
    moved = last = 0
    for number, rows, text in connection.execute("SELECT id, rows, batch FROM answered ORDER BY id"):
        batches.append(_decode(text))
        moved, last = moved + rows, number
        if moved >= limit_rows:
            break
    if not batches:
        return 0
    # In the index's order, which costs less the more there are; a stable sort leaves the first answer first.
    settled = sorted(itertools.chain.from_iterable(map(_rows, batches)), key=itemgetter(0, 1, 2))
    connection.executemany(_INSERT, settled)
    connection.execute("DELETE FROM answered WHERE id <= ?", (last,))
    return moved


def stamp(value: datetime) -> str:
    """Return a time in fixed width, so that text order is time order and the first ten characters are the data day."""
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return f"{utc.isoformat(timespec='microseconds')[:-6]}Z"


def _rows(one: Answered) -> Iterator[tuple[str | int | float, ...]]:
    stamps = {at: stamp(at) for at in set(one.at)}
    count = len(one.keys)
    return zip(
        itertools.repeat(one.model, count),
        itertools.repeat(one.epoch, count),
        one.keys,
        one.units,
        map(stamps.__getitem__, one.at),
        itertools.repeat(one.step, count),
        one.assigned,
        one.variants,
        map(one.versions.__getitem__, one.variants),
        one.scores,
        strict=True,
    )
