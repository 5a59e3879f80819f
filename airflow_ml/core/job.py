"""A remote job: many calls handed to a backend at once, and what is known of them afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.record import Record

#: Phases of a job. ``waiting``: nothing runs yet (no capacity, suspended, queued).
WAITING, RUNNING, SUCCEEDED, FAILED, CANCELLED, LOST = (
    "waiting",
    "running",
    "succeeded",
    "failed",
    "cancelled",
    "lost",
)
ENDED = frozenset({SUCCEEDED, FAILED, CANCELLED, LOST})
#: Failures of one job that are reported; the newest are kept.
MAX_FAILURES = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRequest(Record):
    """What a backend is asked to run. Its results come back through the store, never through the backend."""

    #: Identity of the logical attempt, from which the backend derives its own names: asking again adopts what exists.
    key: str
    #: Raised by a clear or a new attempt: whoever holds a lower one can cancel nothing of this.
    epoch: int
    #: JSON lines, one job (a ``CallJob`` or ``ShardJob`` in wire form) a line.
    work: Artifact
    #: Number of those lines.
    calls: int
    #: The runtime as a zipapp.
    runtime: Artifact
    store_uri: str
    profile: ComputeProfile
    #: Python's minor version and the machine of the calls' environment, ``3.12`` and ``x86_64``; empty for any.
    python: str = ""
    machine: str = ""
    #: Who asks: namespace, dag, run, task, map index; as labels (shortened) and annotations (whole).
    owner: Mapping[str, str] = field(default_factory=dict)

    @property
    def indexes(self) -> int:
        """Number of indexes: pods of an Indexed Job, children of a Batch array."""
        return -(-self.calls // max(1, self.profile.calls_per_index))


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHandle(Record):
    """Enough to find a job again from another process."""

    kind: str
    #: The backend's names, one for each array or job that the request became.
    names: tuple[str, ...]
    epoch: int
    #: Where it runs (Kubernetes namespace, Batch queue and region).
    place: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFailure(Record):
    """Why one index ended without success, in the words of core/failure.py."""

    index: int
    #: A row of the failure table: ``user_error``, ``out_of_memory``, ``evicted``, ``preempted``, ``node_lost``,
    #: ``image_pull``, ``unschedulable``, ``timeout``, ``no_result`` ...
    reason: str
    message: str
    exit_code: int | None = None
    #: Name of the pod or child, for its log.
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStatus(Record):
    """What a backend knows of a job now."""

    phase: str
    indexes: int
    active: int = 0
    succeeded: int = 0
    failed: int = 0
    #: Why nothing runs, in the scheduler's words; empty where something does.
    waiting_for: str = ""
    #: At most ``MAX_FAILURES``, newest last.
    failures: tuple[IndexFailure, ...] = ()
