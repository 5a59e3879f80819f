"""Answering the question that a parked canary asks on Airflow's page of required actions, in a person's name."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.utils.session import create_session

from airflow_ml.operators.approval import APPROVED, REASON


def approve(task: dict[str, Any], user: Any, reason: str) -> None:
    """Say yes. Airflow checks that the person may answer, and that nobody has; the task then goes on.

    Raises:
        HTTPException: 403, 404 or 409 as Airflow says.
    """
    answer = UpdateHITLDetailPayload(chosen_options=[APPROVED], params_input={REASON: reason})
    with create_session() as session:
        update_hitl_detail(
            task["dag_id"], task["run_id"], task["task_id"], answer, user, session, map_index=task["map_index"]
        )
