"""What the stages need of the outside world. Each port has an in-memory twin and one contract suite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from airflow_ml.core.artifact import Artifact, Column
from airflow_ml.core.gate import CheckResult
from airflow_ml.core.job import JobHandle, JobRequest, JobStatus
from airflow_ml.core.record import JSON
from airflow_ml.core.source_rows import TimeRange


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One entry of a ref's history."""

    ref: str
    #: 1 for the first entry, no gaps.
    sequence: int
    value: Mapping[str, JSON]


class ArtifactStore(Protocol):
    """Content-addressed blobs, and refs: named, append-only histories of small JSON objects.

    A ref's next entry is created only if nobody created it before (put if absent): that is the compare-and-swap on
    which rollouts, latest pointers and results rest.
    """

    #: The store's root, for messages and for opening it again in another process.
    uri: str

    def put_file(
        self,
        path: Path,
        *,
        format: str,
        rows: int | None = None,
        columns: Sequence[Column] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Store a file's content; the same content twice is one blob."""

    def put_bytes(
        self,
        data: bytes,
        *,
        format: str,
        rows: int | None = None,
        columns: Sequence[Column] = (),
        metadata: Mapping[str, str] | None = None,
    ) -> Artifact:
        """Store bytes."""

    def path(self, artifact: Artifact) -> Path:
        """Return a local, verified, read-only file with the content.

        Raises:
            ArtifactNotFound: no blob with that digest.
            ArtifactCorrupt: the bytes are not what the digest says; the blob is set aside.
        """

    def get_bytes(self, artifact: Artifact) -> bytes:
        """Return the verified content; raises as ``path`` does."""

    def append(self, ref: str, value: Mapping[str, JSON], *, after: int) -> Entry:
        """Create entry ``after + 1`` of a ref (``after=0`` for the first), durably.

        Raises:
            RefConflict: somebody else created that entry.
        """

    def latest(self, ref: str) -> Entry | None:
        """Return the newest entry, or None where the ref does not exist."""

    def history(self, ref: str, *, newest_first: bool = False, up_to: int | None = None) -> Iterator[Entry]:
        """Yield all entries, oldest first; each is read when it is asked for, so the newest few of many cost little.

        Args:
            ref: Whose.
            newest_first: Begin with the newest one.
            up_to: Leave out the entries after this one; None (default) for none.
        """

    def refs(self, prefix: str = "") -> Iterator[str]:
        """Yield the names of the refs below a prefix, sorted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableFile:
    """Rows that a source wrote to a local Parquet file."""

    path: Path
    rows: int
    columns: tuple[Column, ...]
    consistency: str
    statement_id: str


class SnapshotSource(Protocol):
    """A warehouse that rows are read from."""

    #: For example ``snowflake``; chooses the SQL dialect of pushed-down features.
    dialect: str

    def read(
        self,
        statement: str,
        values: Mapping[str, JSON | datetime],
        *,
        uploads: Mapping[str, Path] | None = None,
        as_of: datetime,
        into: Path,
        tag: Mapping[str, str],
    ) -> TableFile:
        """Stream a SELECT to Parquet, in batches; ``values`` are bound as ``%(name)s``, never spliced.

        ``as_of`` is itself bound as ``%(as_of)s``. ``uploads``: Parquet files by the names of tables that hold their
        rows for this statement alone. ``tag`` names dag, run and task in the warehouse's query history.

        Raises:
            TableMissing, ColumnMissing, StatementFailed.
        """

    def read_table(
        self,
        table: str,
        *,
        columns: Sequence[str] | None,
        within: Sequence[TimeRange] = (),
        as_of: datetime,
        into: Path,
        tag: Mapping[str, str],
    ) -> TableFile:
        """Stream a table (``[[database.]schema.]table``) as of an instant; raises as ``read`` does.

        ``columns`` None means all; a name is found whatever its case. ``within``: only rows that lie in one of these
        ranges; a time without a zone is compared in any zone. None (default) means every row.
        """

    def write_table(self, table: str, parquet: Path, *, key: Sequence[str], tag: Mapping[str, str]) -> int:
        """Upsert the rows of a Parquet file by key, in one transaction, creating the table if need be.

        Writing the same rows again changes nothing. Returns the number of rows now in the table with these keys.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Validation:
    """What a validator found. ``bad_rows`` are positions (0-based) of rows that break a row-level rule."""

    checks: tuple[CheckResult, ...]
    rows: int
    bad_rows: Sequence[int]
    #: The whole result, JSON-able, to be stored beside the report.
    details: Mapping[str, Any]


class Validator(Protocol):
    """A library that tests tabular data."""

    def validate(self, parquet: Path, expectations: Sequence[Mapping[str, Any]]) -> Validation:
        """Run expectations (``{"type": "expect_...", "kwargs": {...}, "severity": ...}``) over a file.

        Raises:
            UnknownExpectation, ColumnMissing: the suite does not fit.
            GateErrored: the library itself failed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisteredModel:
    """A version as the registry knows it."""

    name: str
    version: str
    run_id: str
    source: str
    tags: Mapping[str, str]


class ModelRegistry(Protocol):
    """Names, versions and aliases of models. ``register`` is idempotent by ``key``."""

    def register(
        self,
        name: str,
        *,
        key: str,
        model_dir: Path,
        params: Mapping[str, JSON],
        metrics: Mapping[str, float],
        tags: Mapping[str, str],
        files: Mapping[str, Path],
        experiment: str,
    ) -> RegisteredModel:
        """Create a version from an MLflow model directory, or return the one that was made with the same ``key``.

        Raises:
            RegistryUnavailable.
        """

    def get(self, name: str, version: str) -> RegisteredModel:
        """Raises ModelNotFound, RegistryUnavailable."""

    def by_alias(self, name: str, alias: str) -> RegisteredModel | None:
        """Return the version an alias points to; None where the alias or the model does not exist."""

    def set_alias(self, name: str, alias: str, version: str, *, expected: str | None) -> None:
        """Move an alias that now points to ``expected`` (None: to nothing).

        Raises:
            AliasConflict: it points elsewhere.
        """

    def set_tags(self, name: str, version: str, tags: Mapping[str, str]) -> None:
        """Add tags to a version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How a router divides requests between two variants of one model."""

    model: str
    #: Written by compare-and-swap: a lower epoch never replaces a higher one.
    epoch: int
    champion: Mapping[str, JSON]
    #: None where only the champion serves.
    challenger: Mapping[str, JSON] | None
    #: Percent of randomization units that the challenger answers, 0 to 100.
    weight_percent: float
    #: After this moment the router itself serves the champion only, whoever is dead.
    expires_at: datetime | None
    #: Salt of the sticky hash: a unit keeps its variant for one rollout.
    salt: str
    #: Further challengers, the arms ``challenger-2``, ``challenger-3`` and so on: each answers ``weight_percent`` of
    #: units as well, see core/arms.py.
    others: tuple[Mapping[str, JSON], ...] = ()
    #: Arms that answer nothing any more. The champion answers their units, which stay in their arm.
    stopped: tuple[str, ...] = ()
    #: The champion answers everything; each challenger scores the same requests, and its scores are kept, not given.
    shadow: bool = False


class Router(Protocol):
    """What divides traffic. Variants are ``{"version": ..., "models": Artifact, "view_digest": ...}`` in wire form."""

    def write(self, traffic: Traffic) -> None:
        """Set the division and return when it is in effect.

        Raises:
            FencedOut: the router holds a higher epoch.
            RouterFailed: it did not take it, or cannot load a variant.
        """

    def read(self, model: str) -> Traffic | None:
        """Return what is in effect; None where the model is unknown to the router."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CovariateSums:
    """Sums over the units of a sample of something known of each unit before it met the rollout, ``c_u``.

    For example the unit's mean metric in the weeks before; a unit without such a past counts with a value that does not
    depend on its variant.
    """

    sum_c: float
    sum_cc: float
    #: Of the products with ``x_u`` and ``n_u``.
    sum_xc: float
    sum_nc: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Sufficient statistics of one (variant, stratum): sums over randomization units, from a metric source.

    For unit u, ``x_u`` is the sum of the metric over its requests and ``n_u`` their number, so a mean per request is a
    ratio of sums, with variance by the delta method clustered by unit.
    """

    variant: str
    #: ``<weight percent>/<data day>``, for example ``"25/2013-05-02"``: the split in effect, and the UTC day of the
    #: requests. Arms are compared within a stratum only.
    stratum: str
    units: int
    requests: int
    sum_x: float
    sum_xx: float
    sum_nn: float
    sum_xn: float
    #: Requests without an outcome yet.
    waiting: int = 0
    #: Sum over requests, not units, of the metric's square: with it the design effect of a plan can be estimated. None
    #: where the source does not have it.
    sum_squares: float | None = None
    #: With it the effect is adjusted (core/cuped.py). None where the source has none.
    covariate: CovariateSums | None = None
    #: The part of the traffic that the sample is of, for guardrails by slice; empty for all of it.
    slice_name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All samples of a metric up to a watermark."""

    samples: tuple[Sample, ...]
    #: Data time up to which outcomes are complete; None where nothing was read.
    watermark_at: datetime | None
    #: Units that were sent to each variant, for the sample-ratio check: ``{variant: {stratum: units}}``.
    assigned: Mapping[str, Mapping[str, int]]
    #: By challenger: the sum over units of their squared scores, see core/unit_scores.py. With it a unit that returns
    #: on many days is one cluster; without it, as many as it has days.
    unit_squares: Mapping[str, float] = field(default_factory=dict)
    #: Units that two arms answered at one weight, and all units, each counted once for each weight. Empty where the
    #: source does not count them, as where the router's own hash leaves none.
    crossed: tuple[int, ...] = ()
    #: Units that were sent to each variant at each weight, each unit once over all days: ``{variant: {"25": units}}``.
    #: Few units that are missing each day add up in it. Empty where the source does not count them so.
    assigned_in_all: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


class MetricSource(Protocol):
    """Where the effect of a variant is read."""

    def read(self, model: str, *, metric: str, epoch: int) -> Reading:
        """Return the samples of one rollout.

        Raises:
            MetricUnreadable.
        """


class JobBackend(Protocol):
    """What runs many calls elsewhere. The store, not the backend, says what came of each call."""

    def render(self, request: JobRequest) -> Mapping[str, JSON]:
        """Return exactly what ``submit`` would send, without any connection."""

    def submit(self, request: JobRequest) -> JobHandle:
        """Start the job, or adopt the one that the same request started before.

        Raises:
            JobConflict: another job has the name.
            BackendUnavailable: it cannot be reached, or refuses (quota, permission), with its own words.
        """

    def observe(self, handle: JobHandle) -> JobStatus:
        """Return what is known now; phase ``lost`` where nobody knows the job any more.

        Raises:
            BackendUnavailable: it cannot be reached; nothing is known.
        """

    def log(self, handle: JobHandle, index: int, *, tail_lines: int = 200) -> Iterator[str]:
        """Yield the last lines of one index's output; nothing where they are gone. Never raises."""

    def cancel(self, handle: JobHandle) -> None:
        """End the job and all it started, if it has this epoch; twice is as good as once."""
