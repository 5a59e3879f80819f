"""A worker that dies between two tasks takes none of them with it."""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import pytest

from airflow_ml.runtime.pool import Ended, Pool
from airflow_ml.runtime.worker import Task

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="forks")


def _execute(payload: dict[str, Any]) -> dict[str, Any]:
    if payload.get("die"):
        os._exit(3)
    return {"pid": os.getpid()}


def _pool(**changes: Any) -> Pool:
    return Pool(_execute, workers=1, timeout_seconds=None, log=lambda line: None, **changes)


def _next_end(ends: Any) -> Ended:
    return next(ended for ended in ends if ended is not None)


@pytest.mark.parametrize("stopped_first", [False, True], ids=["dead when it is given", "dead before it reads"])
def test_a_task_that_never_began_runs_in_another_worker(stopped_first: bool) -> None:
    pool = _pool()
    ends = pool.run([Task("a", {})])
    pid = _next_end(ends).answer["pid"]
    os.kill(pid, signal.SIGSTOP if stopped_first else signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    pool.add(Task("b", {}), next=True)
    if stopped_first:
        assert next(ends) is None  # it was given the task, and does not read it
        os.kill(pid, signal.SIGKILL)
    ended = _next_end(ends)
    assert (ended.task.name, ended.status) == ("b", "succeeded")
    assert ended.answer["pid"] != pid
    assert list(ends) == []


def test_a_task_that_began_is_killed_with_its_worker() -> None:
    ended = [one for one in _pool().run([Task("a", {"die": True}), Task("b", {})]) if one is not None]
    assert [(one.task.name, one.status) for one in ended] == [("a", "killed"), ("b", "succeeded")]


def test_workers_that_never_begin_anything_end_after_some_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        os._exit(7)

    monkeypatch.setattr("airflow_ml.runtime.worker._serve", never)
    ended = [one for one in _pool().run([Task("a", {})]) if one is not None]
    assert [(one.status, one.answer["reason"]) for one in ended] == [("killed", "its process ended with exit code 7")]
