"""What a person does with a canary on its page: one more entry of the rollout's record, with their name and reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from airflow_ml.core.rollout_look import APPROVE, HOLD, PROMOTE, RESUME, STOP
from airflow_ml.core.rollout_state import PARKED
from airflow_ml.plugin.views.canary import allowed_actions
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.views.rollouts import owner_dag, owner_of
from airflow_ml.plugin.views.shelf import Shelf
from airflow_ml.runtime.rollout_acts import RolloutActs
from airflow_ml.runtime.rollout_history import At, RolloutHistory


class TooLate(RuntimeError):
    """The rollout is no longer what the person saw."""


def find_rollout(shelf: Shelf, dag_id: str, model: str, epoch: int) -> At:
    """Return the rollout that a person wants to act on, if a DAG owns it.

    Raises:
        NotHere: the model has no rollout of that DAG.
        TooLate: another rollout began since.
    """
    at = RolloutHistory(shelf.store).latest(model, shelf.namespace)
    if at is None or owner_dag(at.state) != dag_id:
        raise NotHere(f"{dag_id} leads no rollout of {model}")
    if at.state.epoch != epoch:
        raise TooLate(f"Another rollout of {model} began since: epoch {at.state.epoch}.")
    return at


def act(
    shelf: Shelf, dag_id: str, model: str, *, action: str, epoch: int, who: str, why: str, arm: str = ""
) -> dict[str, Any]:
    """Hold, resume, promote or roll back. The router moves at the leader's next look, or the reconciler's next round.

    Raises:
        NotHere: the model has no rollout of that DAG.
        TooLate: its state allows no such action any more.
        ConfigurationError: of several challengers it is not said which to promote.
        FencedOut, RefConflict: it changed at this very moment.
    """
    at = find_rollout(shelf, dag_id, model, epoch)
    check_allowed(shelf, at, action)
    acts = RolloutActs(shelf.store, clock=shelf.now)
    doing: dict[str, Callable[..., object]] = {
        HOLD: acts.hold,
        RESUME: acts.resume,
        PROMOTE: partial(acts.promote, arm=arm),
        STOP: acts.stop,
    }
    doing[action](model, shelf.namespace, who=who, why=why, epoch=epoch)
    newest = RolloutHistory(shelf.store).latest(model, shelf.namespace)
    result = {
        HOLD: "The rollout takes no further step until it is resumed; harm still ends it.",
        PROMOTE: "The challenger is promoted at the rollout's next look, unless that shows harm.",
        RESUME: "The rollout goes on, with its time limit from here.",
        STOP: "The rollout ended: it had no traffic."
        if at.state.state == PARKED
        else "The rollout goes back to the champion at its next look, within a minute or two.",
    }[action]
    return {"action": action, "sequence": newest.sequence if newest else at.sequence, "result": result}


def approval_of(shelf: Shelf, dag_id: str, model: str, *, epoch: int) -> dict[str, Any]:
    """Return the task that waits for a parked rollout's approval.

    Raises:
        NotHere: the model has no rollout of that DAG.
        TooLate: it does not wait for one.
    """
    at = find_rollout(shelf, dag_id, model, epoch)
    check_allowed(shelf, at, APPROVE)
    owner = owner_of(at.state)
    if owner is None:
        raise NotHere(f"{dag_id} leads no rollout of {model}")
    return {**owner, "sequence": at.sequence}


def check_allowed(shelf: Shelf, at: At, action: str) -> None:
    """Refuse what the rollout's state does not allow.

    Raises:
        TooLate: it does not.
    """
    allowed = allowed_actions(at.state, shelf.now())
    if action not in allowed:
        now = f"now possible: {', '.join(allowed)}" if allowed else "nothing can be done with it any more"
        raise TooLate(f"The rollout is {at.state.pending or at.state.state}; {now}.")
