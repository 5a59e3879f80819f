"""Stage 7, canary: asking a human on Airflow's own page of required actions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.rollout_state import RolloutState


#: The option that lets a rollout go on, and under which name an answer may say why.
APPROVED, REASON = "Approve", "reason"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a human said, or that nobody did in time."""

    approved: bool
    who: str
    why: str


def ask(context: Context, state: RolloutState, *, task_id: str, timeout_seconds: float, method_name: str) -> NoReturn:
    """Ask whether a parked rollout may go on, with its evidence, and wait without a worker or a trigger.

    Airflow's approval operator writes the question; the answer comes to ``method_name`` of the task that asks.

    Args:
        context: The task's.
        state: The parked rollout.
        task_id: The task's.
        timeout_seconds: Without an answer until then it counts as rejected.
        method_name: The method of the task's operator that gets the answer.
    """
    from airflow.providers.standard.operators.hitl import ApprovalOperator, HITLOperator
    from airflow.sdk.exceptions import TaskAwaitingInput

    from airflow_ml.core.rollout_report import report

    question = ApprovalOperator(
        task_id=task_id,
        subject=f"Shall the canary of {state.model} go on at {state.plan.steps[state.step].weight_percent:g} %?",
        body=report(state),
        defaults=ApprovalOperator.REJECT,
        response_timeout=timedelta(seconds=timeout_seconds),
    )
    try:
        # The plain method: the wrapper around it warns of operators that a DAG file calls by mistake.
        HITLOperator.execute.__wrapped__(question, context)
    except TaskAwaitingInput as waiting:
        raise TaskAwaitingInput(method_name=method_name, timeout=waiting.timeout) from None
    raise AssertionError("an approval waits")


def answer_of(event: Mapping[str, Any]) -> Answer:
    """Return the answer in the event of an approval."""
    user = event.get("responded_by_user") or {}
    approved = list(event.get("chosen_options") or []) == [APPROVED]
    if not user:
        return Answer(approved=approved, who="the approval's time limit", why=str(event.get("error") or "No answer"))
    who = str(user.get("name") or user.get("id"))
    said = str((event.get("params_input") or {}).get(REASON) or "").strip()
    return Answer(
        approved=approved, who=who, why=said or ("Approved in Airflow" if approved else "Rejected in Airflow")
    )
