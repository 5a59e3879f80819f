"""Answered batches as lines of JSON in files, until each of their rows gets its place in the table of predictions.

Logging a batch is one write to a file, which waits for nobody: a fraction of what a transaction costs. A file that is
not written any more is settled in one transaction, then removed. After a crash between the two it settles again, and a
row that has its place already keeps it: so a crash at any moment neither loses nor doubles a row.
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from io import FileIO
from operator import itemgetter
from pathlib import Path
from typing import TypeVar

import msgspec

from airflow_ml.gateway.batch import Batch
from airflow_ml.gateway.scoring import Answers

Item = TypeVar("Item")

#: Rows after which a file ends: enough that their transaction is cheap for each, few enough that it takes 0.1 s.
FILE_ROWS = 10_000

_log = logging.getLogger("airflow_ml.gateway")


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


class AnswerJournal:
    """The files of a folder, from any thread. What a life before this one left is settled like its own."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._lock = threading.Lock()
        #: Rows of each file, oldest first; the last one is written.
        self._rows = {path: sum(len(one.keys) for one in _read(path)) for path in sorted(folder.glob("*.jsonl"))}
        self._path, self._file = self._next()

    @property
    def waiting_rows(self) -> int:
        """How many rows wait for their place."""
        with self._lock:
            return sum(self._rows.values())

    def add(self, answered: Answered) -> None:
        """Log a batch; raises OSError where the disk is full, say."""
        # A line break before each: a line that could not be written whole stays a line of its own, which is none.
        line = b"\n" + _encode(answered)
        with self._lock:
            if self._rows[self._path] >= FILE_ROWS:
                self._turn()
            if self._file.write(line) != len(line):
                raise OSError(f"{self._path.name} could not be written whole")
            self._rows[self._path] += len(answered.keys)

    def ended(self) -> list[Path]:
        """End the file that is written, if it has rows; return the files with rows to settle, oldest first."""
        with self._lock:
            if self._rows[self._path]:
                self._turn()
            return list(self._rows)[:-1]

    def holds(self, path: Path) -> bool:
        """Whether a file is still to be settled."""
        with self._lock:
            return path in self._rows

    def remove(self, path: Path) -> None:
        """Remove a file that was settled."""
        path.unlink(missing_ok=True)
        with self._lock:
            del self._rows[path]

    def close(self) -> None:
        """Close the file that is written."""
        with self._lock:
            self._file.close()

    def _turn(self) -> None:
        before = self._file
        self._path, self._file = self._next()
        before.close()

    def _next(self) -> tuple[Path, FileIO]:
        number = int(max(self._rows).stem) + 1 if self._rows else 1
        path = self._folder / f"{number:012}.jsonl"
        file = path.open("xb", buffering=0)
        self._rows[path] = 0
        return path, file


def rows_of(path: Path) -> list[tuple[str | int | float, ...]]:
    """Return the rows of a file for the table of predictions; of those with one key the first answer comes first."""
    # In the index's order, which costs less the more there are; a stable sort leaves the first answer first.
    return sorted(itertools.chain.from_iterable(map(_rows, _read(path))), key=itemgetter(0, 1, 2))


def stamp(value: datetime) -> str:
    """Return a time in fixed width, so that text order is time order and the first ten characters are the data day."""
    utc = value if value.tzinfo is UTC else value.astimezone(UTC)
    return f"{utc.isoformat(timespec='microseconds')[:-6]}Z"


def _read(path: Path) -> Iterator[Answered]:
    for line in path.read_bytes().split(b"\n"):
        if line:
            try:
                yield _decode(line)
            except msgspec.DecodeError:  # cut short by a crash or a full disk: nobody was told that it is logged
                _log.warning("%s has a line of %d bytes that was not written whole", path.name, len(line))


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
