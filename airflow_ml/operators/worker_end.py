"""What a signal to a running task means: the user ends the task, or only its worker is being stopped.

Airflow calls ``on_kill`` for both, and for an API server that was away for long.
"""

from __future__ import annotations

import threading
from typing import Any

from airflow_ml.triggers.task_state import task_state

#: Airflow kills the process five seconds after it has told it to end, where the user ends the task.
_ASK_SECONDS = 3.0


def will_be_tried_again(instance: Any, log: Any) -> bool:
    """Whether what a task has started elsewhere is to be left: it still counts as running, and has a try left.

    Where nobody can say how it stands, it is left too: the next try finds it, and what is deleted nobody finds. Called
    in a signal's handler, so the question is asked in a thread: whatever was interrupted may be asking one itself.

    Args:
        instance: The task instance; None where nothing has begun.
        log: Of the task.
    """
    if instance is None or int(getattr(instance, "try_number", 1)) > int(getattr(instance, "max_tries", 0) or 0):
        return False
    answers: list[str] = []

    def ask() -> None:
        try:
            answers.append(task_state(instance))
        except Exception as error:  # the API server is away
            log.warning("The state of the task cannot be read: %s", error)

    thread = threading.Thread(target=ask, name="task-state", daemon=True)
    thread.start()
    thread.join(_ASK_SECONDS)
    return not answers or answers[0] == "running"
