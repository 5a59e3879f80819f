"""Answering the question that a parked canary asks on Airflow's page of required actions, in a person's name."""

from __future__ import annotations

from typing import Any

from airflow.api_fastapi.core_api.datamodels.hitl import UpdateHITLDetailPayload
from airflow.api_fastapi.core_api.routes.public.hitl import update_hitl_detail
from airflow.utils.session import create_session

from airflow_ml.operators.approval import APPROVED, REASON
from airflow_ml.plugin.auth import may_answer


def approve(task: dict[str, Any], user: Any, reason: str) -> None:
    """Say yes. The person must have the right to answer and, where the task names who is asked, be one of them.

    Airflow itself checks the names, and that nobody has answered; the right it checks before its route, which this call
    goes past.

    Raises:
        HTTPException: 403, 404 or 409 as Airflow says.
    """
    from fastapi import HTTPException

    if not may_answer(user, task["dag_id"]):
        raise HTTPException(403, "Forbidden")
    answer = UpdateHITLDetailPayload(chosen_options=[APPROVED], params_input={REASON: reason})
    with create_session() as session:
        update_hitl_detail(
            task["dag_id"], task["run_id"], task["task_id"], answer, user, session, map_index=task["map_index"]
        )
