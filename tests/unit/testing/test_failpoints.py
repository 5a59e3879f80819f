from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from airflow_ml.core.failpoint import fp
from airflow_ml.testing.failpoints import VARIABLE, FailpointError, Failpoints, failing


def test_nothing_happens_unless_armed() -> None:
    fp("rollout.after_intent")


def test_the_nth_passage_raises_and_only_that() -> None:
    with failing("a=raise@2;b=raise") as failpoints:
        fp("a")
        with pytest.raises(FailpointError):
            fp("a")
        fp("a")
        with pytest.raises(FailpointError):
            fp("b")
    fp("b")
    assert failpoints.seen == ["a", "a", "a", "b"]


def test_an_unknown_action_is_refused() -> None:
    with pytest.raises(ValueError, match="Unknown action 'explode'"):
        Failpoints("a=explode")


def test_a_process_kills_itself_where_its_environment_says() -> None:
    code = (
        "from airflow_ml.testing.failpoints import arm_from_environment; arm_from_environment();"
        "from airflow_ml.core.failpoint import fp; fp('other'); print('before', flush=True); fp('x'); print('after')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, VARIABLE: "x=kill"}, capture_output=True, text=True, timeout=60
    )
    assert (ran.returncode, ran.stdout) == (-signal.SIGKILL, "before\n")
