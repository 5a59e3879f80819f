"""Stage 1, snapshot: a table or query as it was at one instant."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import JSON, Record

#: Whether all rows of a snapshot are of one instant.
TIME_TRAVEL = "time_travel"  #: the warehouse answered as of ``as_of``
PLAIN_READ = "plain_read"  #: the warehouse has no history; rows as they were when the statement ran


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSnapshot(Record):
    """Rows of a table or query, as one Parquet artifact."""

    incidental: ClassVar[frozenset[str]] = frozenset({"statement_id"})

    name: str
    artifact: Artifact
    #: The instant the data stands for (UTC).
    as_of: datetime
    rows: int
    #: ``time_travel`` or ``plain_read``.
    consistency: str
    #: The warehouse's own identifier of the statement, to find it in its query history.
    statement_id: str
    #: Digest of the statement's text and its bound values.
    statement_digest: str
    #: Which warehouse answered: dialect and Airflow connection, never an address or a user.
    source: str
    #: Fingerprints of the records this one was made from: a gate passes on a snapshot that names its subject.
    parents: tuple[str, ...] = ()
    facts: Mapping[str, JSON] = field(default_factory=dict)
