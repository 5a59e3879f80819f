"""Who asks, and what they may see: everything that the pages use of Airflow's own authorization, in one file.

A mounted application inherits no check from Airflow, so nothing here is optional: `session_user` stands before every
request, and each route names one of the three permissions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import AccessView, DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import (
    bearer_scheme,
    get_user,
    requires_access_dag,
    requires_access_view,
)
from airflow.models.dag import DagModel
from fastapi import Depends, Request

#: Whether a DAG may be read.
MayRead = Callable[[str], bool]


async def session_user(request: Request) -> Any:
    """Return the user of a request.

    Raises:
        HTTPException: 401 without a session, 403 with a token that is none.
    """
    return await get_user(request, None, await bearer_scheme(request))


def user_name(user: Any) -> str:
    """Return the name by which a person is recorded."""
    return str(user.get_name() or user.get_id())


#: The three permissions. A DAG is named by the path alone: ``?dag_id=`` has no say while the path has one.
READ_DAG = Depends(requires_access_dag("GET"))
EDIT_TASKS = Depends(requires_access_dag("PUT", DagAccessEntity.TASK_INSTANCE))
VIEW = Depends(requires_access_view(AccessView.PLUGINS))


def may_edit_tasks(user: Any, dag_id: str) -> bool:
    """Whether a user may edit a DAG's task instances: the right to end a canary by marking it failed."""
    return _may_put(user, dag_id, DagAccessEntity.TASK_INSTANCE)


def may_answer(user: Any, dag_id: str) -> bool:
    """Whether a user may answer what a DAG's tasks ask people."""
    return _may_put(user, dag_id, DagAccessEntity.HITL_DETAIL)


def _may_put(user: Any, dag_id: str, entity: DagAccessEntity) -> bool:
    return get_auth_manager().is_authorized_dag(
        method="PUT",
        access_entity=entity,
        details=DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id)),
        user=user,
    )


def _may_read(request: Request) -> MayRead:
    """Return which DAGs the user may read, asked once for each request.

    DAGs that Airflow no longer knows are not among them: nobody can be asked about them.
    """
    allowed = get_auth_manager().get_authorized_dag_ids(user=request.state.ml_user, method="GET")
    return allowed.__contains__


MayReadDep = Annotated[MayRead, Depends(_may_read)]
