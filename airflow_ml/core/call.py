"""Everything that runs user code is a Call: function, arguments, seed, environment, compute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.record import JSON, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionRef(Record):
    """A function that a clean interpreter can find again without importing a DAG file."""

    #: ``import``: module and qualname of an importable module. ``source``: captured from the live function.
    kind: str
    #: For ``import`` the module's name; for ``source`` the original file name, for tracebacks.
    module: str
    qualname: str
    #: Digest of the code: for ``source`` of the captured package, for ``import`` of the module's file.
    digest: str
    #: The captured source and the project files it reaches, as a ``python`` artifact; None where nothing travels.
    package: Artifact | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Constant(Record):
    """An argument that JSON has no word for."""

    #: ``datetime``, ``date``, ``timedelta``, ``tuple``, ``set``, ``frozenset``, or ``dict`` where keys are not text.
    kind: str
    #: ISO 8601 text, seconds, or the list of items; of a dict the list of its pairs.
    value: JSON


@dataclass(frozen=True, slots=True, kw_only=True)
class Call(Record):
    """One function with its arguments, in one environment."""

    function: FunctionRef
    #: JSON values, or records (such as artifacts and feature sets) in wire form, by parameter name.
    arguments: Mapping[str, JSON]
    seed: int
    #: Digest of Python version, architecture and installed distributions.
    environment: str
    #: Name of the compute profile; where a call runs does not change what it is.
    compute: str = "local"
    namespace: str = "prod"
    #: Whether pickles among the arguments may be loaded; the consumer says so, and runs without secrets.
    trusted: bool = False

    @property
    def key(self) -> str:
        """The identity of the work: function, arguments, seed, environment and namespace."""
        parts: dict[str, JSON] = {
            "function": [self.function.kind, self.function.qualname, self.function.digest],
            "arguments": dict(self.arguments),
            "seed": self.seed,
            "environment": self.environment,
            "namespace": self.namespace,
        }
        return digest_json({**parts, "trusted": True} if self.trusted else parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResult(Record):
    """The result of a call, written to a place derived from the call's key."""

    call: str
    #: ``succeeded``, ``failed``, ``timed_out``, ``killed`` or ``lost``.
    status: str
    #: The returned value: JSON, with artifacts in wire form where the value was stored.
    value: JSON = None
    #: Type and message of the error, and the traceback's last lines.
    error: str = ""
    traceback: str = ""
    seconds: float = 0.0
    facts: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CallResults(Record):
    """What many calls of one function returned: one value for each input, in the order of the inputs.

    In a `@task.ml` function, and by `airflow_ml.read`, it is the list of these values, None for a call without one.
    """

    #: Parquet, a row for each call: ``number``, ``call`` (its key), ``status``, ``value`` (JSON, artifacts in wire
    #: form), ``error``, ``seconds``. ``status`` is that of a `CallResult`, or ``lost``: no result came back.
    artifact: Artifact
    function: FunctionRef
    calls: int
    succeeded: int
    #: Name of the compute profile that they ran with.
    compute: str
    #: Seconds of all calls together.
    seconds: float = 0.0
