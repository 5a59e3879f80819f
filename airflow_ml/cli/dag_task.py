"""Asking about a task of a DAG file: Airflow reads the file, in a process of its own."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from airflow_ml.errors import ConfigurationError

#: The module that answers; it imports airflow, this command does not.
_ANSWERS = "airflow_ml.plugin.dag_task"
#: How long an interrupted process may take to end what it began: a cluster may answer late.
_END_SECONDS = 120.0


def ask_dag(
    question: str,
    dag: str,
    task: str,
    *,
    dags: str | None,
    settings: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return what a process with Airflow says of a task; what it writes goes to standard error.

    Args:
        question: ``describe``, ``pod`` or ``run``.
        dag, task: Their ids; of a sweep the name of its group.
        dags: Folder or file with the DAG; None for Airflow's own setting.
        settings: Further plain data for the question.
        environment: Variables beside this process's own.

    Raises:
        ConfigurationError: there is no such DAG or task, or it cannot be done; in the process's own words.
        KeyboardInterrupt: Ctrl-C, SIGTERM or the end of the terminal; the process has ended what it began.
    """
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as folder:
        answer = Path(folder) / "answer.json"
        asked = json.dumps({"dag": dag, "task": task, "dags": dags, **(settings or {})})
        quiet = {
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW__LOGGING__NAMESPACE_LEVELS": "airflow.task=INFO airflow_ml=INFO",  # what the task itself says
            "PYTHONWARNINGS": "ignore",
        }
        exit_code = _ask(
            [sys.executable, "-m", _ANSWERS, question, str(answer)],
            asked,
            {**quiet, **os.environ, **(environment or {})},
        )
        if not answer.exists():
            raise ConfigurationError(
                f"The DAG {dag} cannot be read", f"exit code {exit_code}", "See what is printed above."
            )
        said: dict[str, Any] = json.loads(answer.read_text(encoding="utf-8"))
    if "error" in said:
        raise ConfigurationError(*said["error"])
    return said


def _ask(command: list[str], asked: str, environment: Mapping[str, str]) -> int:
    """Run a process to its end; an interruption reaches it once, and is over when it has ended in good order."""
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        text=True,
        stdout=sys.stderr if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
        env=environment,
        process_group=0,  # a terminal sends Ctrl-C to whole groups, and the second one would cut short its good order
    )
    with _any_end_as_interrupt():
        try:
            process.communicate(asked)
        except KeyboardInterrupt:
            process.send_signal(signal.SIGINT)
            print("Interrupted: what was begun is being ended. Ctrl-C once more leaves it alone.", file=sys.stderr)
            try:
                process.wait(_END_SECONDS)
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                process.kill()
                print("A remote job may go on: see `airflow-ml reap`.", file=sys.stderr)
            raise
    return process.returncode


@contextlib.contextmanager
def _any_end_as_interrupt() -> Iterator[None]:
    """Take SIGTERM and the end of the terminal for Ctrl-C, as long as a process of ours runs."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # One that is ignored stays so: nohup wants the process to outlive its terminal.
    taken = [one for one in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(one) == signal.SIG_DFL]
    for number in taken:
        signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, signal.SIG_DFL)


def _has_descriptor(stream: Any) -> bool:
    try:
        return bool(stream.fileno() >= 0)
    except (OSError, ValueError, AttributeError):
        return False
