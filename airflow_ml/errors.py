"""Every error airflow_ml raises, in one tree.

    AirflowMLError
    ├── ConfigurationError (ValueError)          a setting or argument that cannot work
    │   ├── ConnectionMissing (LookupError)      an Airflow connection that is not defined
    │   └── MissingDependency (ImportError)      an optional package that is not installed
    ├── RecordError (ValueError)
    │   ├── NotARecord                           a value that is not a record of ours
    │   ├── RecordTooNew                         written by a newer airflow_ml
    │   └── RecordTooLarge                       over the XCom limit
    ├── ArtifactError
    │   ├── ArtifactNotFound (FileNotFoundError)
    │   ├── ArtifactCorrupt (ValueError)         the bytes are not what the digest says
    │   ├── InvalidKey (ValueError)              a store key outside the grammar
    │   ├── RefConflict (RuntimeError)           somebody else wrote that sequence number first
    │   ├── StoreUnavailable (ConnectionError)   the store cannot be reached, or takes no credentials
    │   └── NoCodec (TypeError)                  no safe way to store a value of that type
    ├── SourceError
    │   ├── TableMissing (LookupError)
    │   ├── ColumnMissing (LookupError)
    │   ├── EmptyDataset (ValueError)
    │   └── StatementFailed (RuntimeError)       the warehouse refused or lost a statement
    ├── GateError
    │   ├── GateBlocked (RuntimeError)           the data or the model did not pass
    │   ├── GateErrored (RuntimeError)           the gate itself could not decide: closed
    │   └── UnknownExpectation (ValueError)
    ├── FeatureError
    │   ├── FeatureKnownTooLate (ValueError)     a feature from after the moment of prediction
    │   ├── FeatureViewMismatch (ValueError)     a model and data of two different views
    │   ├── HoldoutSealed (PermissionError)      only gate_model opens the test split
    │   └── DataTooLarge (MemoryError)           more rows than the in-memory limit
    ├── CallError
    │   ├── NotPortable (TypeError)              a function that cannot leave its process
    │   ├── CallFailed (RuntimeError)            the user's function raised
    │   └── CallTimedOut (TimeoutError)
    ├── ComputeError
    │   ├── JobConflict (RuntimeError)           another job has that name
    │   ├── JobFailed (RuntimeError)             a remote job ended without its results
    │   ├── WrongPlatform (RuntimeError)         not the Python or machine that the calls were made for
    │   └── BackendUnavailable (ConnectionError) the cluster or queue cannot be reached, or refuses
    ├── SweepError
    │   ├── InvalidSpace (ValueError)
    │   └── SweepFailed (RuntimeError)           too few trials succeeded
    ├── RegistryError
    │   ├── RegistryUnavailable (ConnectionError)
    │   ├── ModelNotFound (LookupError)
    │   ├── ModelNotServable (TypeError)         a model without predict
    │   └── AliasConflict (RuntimeError)         somebody else has moved the alias
    └── RolloutError
        ├── RolloutBusy (RuntimeError)           another rollout of that model is running
        ├── MetricUnreadable (ValueError)        the metric cannot be read for the champion
        ├── NoTraffic (TimeoutError)
        ├── RouterFailed (RuntimeError)          traffic could not be set or read back
        └── FencedOut (RuntimeError)             a write with an epoch that is no longer ours

Each error is also the closest standard error, so `except LookupError` works without knowing this package. A message
always says three things: what went wrong, the actual value, and the remedy.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class AirflowMLError(Exception):
    """Root of the tree.

    Args:
        what: What went wrong, without a full stop.
        actual: The value that was met; shown after a colon.
        remedy: What the reader can do about it; shown as a sentence of its own.
    """

    #: Whether running the same task again, unchanged, can succeed. Operators fail at once where it cannot.
    retryable: bool = False

    def __init__(self, what: str, actual: object = "", remedy: str = "") -> None:
        self.what = what
        self.actual = actual
        self.remedy = remedy
        head = f"{what}: {actual}" if actual != "" else what
        stop = "" if head.endswith((".", "!", "?")) else "."  # the actual value may be another error's sentence
        super().__init__(f"{head}{stop} {remedy}" if remedy else head)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.what, self.actual, self.remedy)

    def __str__(self) -> str:
        # KeyError and friends print repr(args); a message is for people.
        return str(self.args[0]) if self.args else self.what


class ConfigurationError(AirflowMLError, ValueError):
    """A setting or argument that cannot work."""


class ConnectionMissing(ConfigurationError, LookupError):
    """An Airflow connection that is not defined."""


class MissingDependency(ConfigurationError, ImportError):
    """An optional package that is not installed."""


class RecordError(AirflowMLError, ValueError):
    """A record that cannot be read or written."""


class NotARecord(RecordError):
    """A value that is not a record of ours."""


class RecordTooNew(RecordError):
    """A record written by a newer airflow_ml."""


class RecordTooLarge(RecordError):
    """A record over the XCom limit."""


class ArtifactError(AirflowMLError):
    """Bytes that cannot be stored or read."""


class ArtifactNotFound(ArtifactError, FileNotFoundError):
    """No blob with that digest in the store."""


class ArtifactCorrupt(ArtifactError, ValueError):
    """The bytes are not what the digest says."""


class InvalidKey(ArtifactError, ValueError):
    """A store key outside the grammar."""


class RefConflict(ArtifactError, RuntimeError):
    """Somebody else wrote that sequence number first."""

    retryable = True


class StoreUnavailable(ArtifactError, ConnectionError):
    """The store cannot be reached, or takes no credentials: what it holds is not known."""

    retryable = True


class NoCodec(ArtifactError, TypeError):
    """No safe way to store a value of that type."""


class SourceError(AirflowMLError):
    """The warehouse and what it holds."""


class TableMissing(SourceError, LookupError):
    """A table that does not exist or may not be read."""


class ColumnMissing(SourceError, LookupError):
    """A column that is not in the data."""


class EmptyDataset(SourceError, ValueError):
    """No rows where rows are needed."""


class StatementFailed(SourceError, RuntimeError):
    """The warehouse refused or lost a statement."""

    retryable = True


class GateError(AirflowMLError):
    """A gate that did not open."""


class GateBlocked(GateError, RuntimeError):
    """The data or the model did not pass."""


class GateErrored(GateError, RuntimeError):
    """The gate itself could not decide; it stays closed."""

    retryable = True


class UnknownExpectation(GateError, ValueError):
    """An expectation that Great Expectations does not know."""


class FeatureError(AirflowMLError):
    """Features and the moment at which they are known."""


class FeatureKnownTooLate(FeatureError, ValueError):
    """A feature from after the moment of prediction."""


class FeatureViewMismatch(FeatureError, ValueError):
    """A model and data of two different views."""


class HoldoutSealed(FeatureError, PermissionError):
    """Only gate_model opens the test split."""


class DataTooLarge(FeatureError, MemoryError):
    """More rows than the in-memory limit."""


class CallError(AirflowMLError):
    """User code and the place where it runs."""


class NotPortable(CallError, TypeError):
    """A function that cannot leave its process."""


class CallFailed(CallError, RuntimeError):
    """The user's function raised."""

    retryable = True


class CallTimedOut(CallError, TimeoutError):
    """The user's function took longer than it may."""

    retryable = True


class ComputeError(AirflowMLError):
    """Work that was sent elsewhere and did not come back."""


class JobConflict(ComputeError, RuntimeError):
    """Another job, not of this request, has the name."""


class JobFailed(ComputeError, RuntimeError):
    """A remote job ended without the results of all its calls.

    Args:
        what, actual, remedy: As of every error here.
        reasons: Rows of the failure table, the most frequent first.
        retryable: Whether trying again can give a result more.
        may_grow: Whether the next try may have more memory.
    """

    retryable = True

    def __init__(
        self,
        what: str,
        actual: object = "",
        remedy: str = "",
        *,
        reasons: Sequence[str] = (),
        retryable: bool = True,
        may_grow: bool = False,
    ) -> None:
        super().__init__(what, actual, remedy)
        self.reasons = tuple(reasons)
        self.retryable = retryable
        self.may_grow = may_grow

    def __reduce__(self) -> tuple[Any, ...]:
        return _job_failed, (self.what, self.actual, self.remedy, self.reasons, self.retryable, self.may_grow)


def _job_failed(
    what: str, actual: object, remedy: str, reasons: tuple[str, ...], retryable: bool, may_grow: bool
) -> JobFailed:
    return JobFailed(what, actual, remedy, reasons=reasons, retryable=retryable, may_grow=may_grow)


class WrongPlatform(ComputeError, RuntimeError):
    """Not the Python or the machine that the calls were made for."""


class BackendUnavailable(ComputeError, ConnectionError):
    """The cluster or queue cannot be reached, or refuses."""

    retryable = True


class SweepError(AirflowMLError):
    """A search that cannot be planned or finished."""


class InvalidSpace(SweepError, ValueError):
    """A search space that holds no valid point."""


class SweepFailed(SweepError, RuntimeError):
    """Too few trials succeeded."""

    retryable = True


class RegistryError(AirflowMLError):
    """The model registry and what it holds."""


class RegistryUnavailable(RegistryError, ConnectionError):
    """The registry does not answer."""

    retryable = True


class ModelNotFound(RegistryError, LookupError):
    """No such model, version or alias."""


class ModelNotServable(RegistryError, TypeError):
    """A model without predict."""


class AliasConflict(RegistryError, RuntimeError):
    """Somebody else has moved the alias."""


class RolloutError(AirflowMLError):
    """Promotion by traffic."""


class RolloutBusy(RolloutError, RuntimeError):
    """Another rollout of that model is running."""


class MetricUnreadable(RolloutError, ValueError):
    """The metric cannot be read for the champion."""


class NoTraffic(RolloutError, TimeoutError):
    """Too few requests reach the router for the plan ever to end with a decision."""


class RouterFailed(RolloutError, RuntimeError):
    """Traffic could not be set, or was read back differently."""

    retryable = True


class FencedOut(RolloutError, RuntimeError):
    """A write with an epoch that is no longer ours."""
