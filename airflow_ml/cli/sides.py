"""What is meant by one side of a comparison: a run, a task, a version of a model, or an artifact."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_ml.client import find_run, runs
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance, find_records
from airflow_ml.core.record import Record
from airflow_ml.core.registration import ModelVersion
from airflow_ml.errors import ArtifactNotFound, ConfigurationError

RUN, TASK, MODEL, ARTIFACT = "run", "task", "model version", "artifact"
#: Runs in which an artifact or a model's task is looked for.
SEARCHED_RUNS = 200
#: Versions that an error names.
_NAMED_VERSIONS = 20
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{8,64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of two things that are compared."""

    kind: str
    title: str
    #: Of a run all its tasks; of a task itself; of a model version those of the run that registered it.
    attempts: tuple[Provenance, ...] = ()
    artifact: Artifact | None = None
    model: ModelVersion | None = field(default=None)


def find_side(address: str, store: ArtifactStore, namespace: str) -> Side:
    """Return what an address names.

    Args:
        address: ``DAG/RUN``, ``DAG/RUN/TASK``, a registered model such as ``flight_delays@3``, an artifact's digest or
            its beginning, or ``DAG/TASK@RUN`` for the artifact that a task returned.
        store: The store.
        namespace: Whose runs.

    Raises:
        ArtifactNotFound: there is no such thing.
    """
    if _DIGEST.match(address):
        return Side(kind=ARTIFACT, title=address, artifact=_artifact(address, store, namespace))
    first, slash, rest = address.partition("/")
    if slash and "@" in rest and not _is_run(first, rest, store, namespace):
        return _output(address, store, namespace)
    if slash:
        run, _, task = rest.partition("/")
        found = find_run(first, run, store=store, namespace=namespace)
        if not task:
            return Side(kind=RUN, title=f"{first}/{found.run}", attempts=tuple(found.attempts()))
        attempt = found[task].provenance
        return Side(kind=TASK, title=f"{first}/{found.run}/{attempt.title}", attempts=(attempt,))
    return _model(address, store, namespace)


def _is_run(dag: str, text: str, store: ArtifactStore, namespace: str) -> bool:
    try:
        find_run(dag, text.partition("/")[0], store=store, namespace=namespace)
    except (ArtifactNotFound, ConfigurationError):
        return False
    return True


def _output(address: str, store: ArtifactStore, namespace: str) -> Side:
    from airflow_ml.client import find_output

    record: Record = find_output(address, store=store, namespace=namespace)
    artifact = record if isinstance(record, Artifact) else getattr(record, "artifact", None)
    if not isinstance(artifact, Artifact):
        raise ConfigurationError("That is not an artifact", f"a {type(record).__name__}", "Compare the tasks instead.")
    return Side(kind=ARTIFACT, title=address, artifact=artifact)


def _artifact(text: str, store: ArtifactStore, namespace: str) -> Artifact:
    start = text if text.startswith("sha256:") else f"sha256:{text}"
    known = {item.digest: item for item in _known_artifacts(store, namespace) if item.digest.startswith(start)}
    if len(known) > 1:
        raise ConfigurationError("Several digests begin like that", ", ".join(sorted(known)[:5]), "Give more.")
    if not known:
        remedy = f"It is looked for in the newest {SEARCHED_RUNS} runs."
        raise ArtifactNotFound("No task took or made such an artifact", text, remedy)
    return next(iter(known.values()))


def _known_artifacts(store: ArtifactStore, namespace: str) -> Iterator[Artifact]:
    for run in runs(store=store, namespace=namespace, limit=SEARCHED_RUNS):
        for attempt in run.attempts():
            wires = [handle.value for handle in (*attempt.outputs, *attempt.inputs)]
            yield from (Artifact.from_dict(wire) for wire in find_records("Artifact", wires))


def _model(address: str, store: ArtifactStore, namespace: str) -> Side:
    name, _, version = address.partition("@")
    ref = f"models/{namespace}/{name}"
    model = next((item for item in _versions(ref, version, store) if version in ("", item.version)), None)
    if model is None:
        known = dict.fromkeys(item.version for item in itertools.islice(_versions(ref, "", store), _NAMED_VERSIONS))
        raise ArtifactNotFound(
            "Neither a run, a task, an artifact nor a registered model", address,
            f"Write DAG/RUN, DAG/RUN/TASK, a digest, or MODEL@VERSION. Newest versions of {name}: "
            f"{', '.join(known) or 'none'}.",
        )  # fmt: skip
    return Side(kind=MODEL, title=f"{name}@{model.version}", attempts=_attempts(model, store, namespace), model=model)


def _versions(ref: str, version: str, store: ArtifactStore) -> Iterator[ModelVersion]:
    """Yield a model's versions, newest first; in front the entry that has the version's number, as nearly all do."""
    if version.isdecimal() and len(version) < 10:
        numbered = itertools.islice(store.history(ref, newest_first=True, up_to=int(version)), 1)
        yield from (ModelVersion.from_dict(entry.value) for entry in numbered)
    yield from (ModelVersion.from_dict(entry.value) for entry in store.history(ref, newest_first=True))


def _attempts(model: ModelVersion, store: ArtifactStore, namespace: str) -> tuple[Provenance, ...]:
    """Return the tasks of the run that registered a version; none where the store does not know it any more."""
    with contextlib.suppress(ArtifactNotFound):
        if model.made_by:
            run = find_run(model.made_by["dag"], model.made_by["run"], store=store, namespace=model.namespace)
            return tuple(run.attempts())
        for run in runs(store=store, namespace=namespace, limit=SEARCHED_RUNS):
            attempts = tuple(run.attempts())
            if any(handle.digest == model.fingerprint for item in attempts for handle in item.outputs):
                return attempts
    return ()
