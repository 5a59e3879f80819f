"""What is read of Airflow's own database: the progress that running shards tell, and whether a job's task has ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta

from airflow.models.task_state_store import TaskStateStoreModel
from airflow.models.taskinstance import TaskInstance
from airflow.utils.session import create_session
from sqlalchemy import select

from airflow_ml.errors import RecordError
from airflow_ml.operators.sweep_progress import PROGRESS_KEY
from airflow_ml.runtime.job import Progress
from airflow_ml.triggers.task_state import ENDED_BY_USER

_LOG = logging.getLogger(__name__)
#: A shard tells its progress every 15 s; what is older is of one that no longer runs.
_FRESH = timedelta(seconds=90)


def told_by_shards(dag_id: str, run_id: str, task_id: str) -> Sequence[Progress]:
    """Return what the running shards of a sweep told last, for the time that is left; nothing where that is unknown."""
    query = select(TaskStateStoreModel.value).where(
        TaskStateStoreModel.dag_id == dag_id,
        TaskStateStoreModel.run_id == run_id,
        TaskStateStoreModel.task_id == task_id,
        TaskStateStoreModel.key == PROGRESS_KEY,
        TaskStateStoreModel.updated_at > datetime.now(UTC) - _FRESH,
    )
    try:
        with create_session() as session:
            values = session.scalars(query).all()
    except Exception as error:  # an estimate is not worth a page
        _LOG.warning("The progress of %s/%s is not known: %s", dag_id, run_id, error)
        return []
    found = []
    for value in values:
        try:
            data = json.loads(value)
            found.append(Progress.from_dict(json.loads(data) if isinstance(data, str) else data))
        except (ValueError, TypeError, RecordError):
            continue
    return found


def final_state(owner: Mapping[str, str]) -> str:
    """Return the state of the task that owns a remote job where that is final, ``removed`` where its run is gone.

    Args:
        owner: Its ``dag``, ``run``, ``task`` and ``map_index``, as a job's annotations or tags have them.

    Returns:
        Nothing where the task goes on, or where nobody can tell.
    """
    if not {"dag", "run", "task"} <= set(owner):
        return ""
    query = select(TaskInstance.state).where(
        TaskInstance.dag_id == owner["dag"],
        TaskInstance.run_id == owner["run"],
        TaskInstance.task_id == owner["task"],
        TaskInstance.map_index == int(owner.get("map_index") or -1),
    )
    try:
        with create_session() as session:
            found = session.execute(query).first()
    except Exception as error:  # a job that may be running is left alone
        _LOG.warning("The state of %s is not known: %s", "/".join(owner.values()), error)
        return ""
    if found is None:
        return "removed"
    return str(found[0]) if found[0] is not None and str(found[0]) in ENDED_BY_USER else ""
