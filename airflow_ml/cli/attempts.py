"""Which task of a run is meant by a verb's arguments."""

from __future__ import annotations

from airflow_ml.client import Run
from airflow_ml.core.provenance import Provenance
from airflow_ml.errors import ArtifactNotFound, ConfigurationError


def attempts_of(run: Run, task: str, map_index: int | None) -> list[Provenance]:
    """Return the newest attempts of a task, or of the tasks in a group.

    Raises:
        ArtifactNotFound: none has ended.
    """
    found = [item for item in run.attempts() if item.task == task or item.task.startswith(f"{task}.")]
    chosen = [item for item in found if map_index in (None, item.map_index)]
    if not chosen:
        known = ", ".join(run.tasks) or "none"
        raise ArtifactNotFound(f"No such task in {run.dag}/{run.run}", task, f"Tasks that have ended: {known}.")
    return chosen


def one_attempt(run: Run, task: str, map_index: int | None) -> Provenance:
    """Return the newest attempt of exactly one task.

    Raises:
        ArtifactNotFound: none has ended.
        ConfigurationError: there are several.
    """
    found = attempts_of(run, task, map_index)
    if len(found) > 1:
        raise ConfigurationError(
            "Several tasks have that name",
            ", ".join(item.title for item in found[:10]),
            "Give --map-index, or for a sweep to reproduce --trial.",
        )
    return found[0]
