"""``python -m demo run|up|down|status``: play the line on this machine, or only start and stop its parts."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

from rich.console import Console

from airflow_ml.errors import AirflowMLError
from airflow_ml.testing.airflow_api import ApiError
from airflow_ml.testing.child_process import ChildFailed
from demo.airflow_stack import PROJECT, Stack
from demo.processes import DemoState, this_process
from demo.progress import Show, closing_table
from demo.scenario import RUNS, Play
from demo.summary import write_summary

#: What a part or Airflow raises when it fails; anything else is a fault of the demo and shows its traceback.
EXPECTED = (ApiError, ChildFailed, AirflowMLError, RuntimeError, TimeoutError, OSError)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; return 0 where everything went as it should."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("command", choices=("run", "up", "down", "status"))
    parser.add_argument("--directory", type=Path, default=PROJECT / ".demo", help="folder of all state (.demo)")
    parser.add_argument("--runs", type=int, default=len(RUNS), help="how many of the runs to play (all)")
    options = parser.parse_args(arguments)
    show, root = Show(), options.directory.resolve()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        if options.command == "run":
            return run(root, show, options.runs)
        return {"up": up, "down": down, "status": status}[options.command](root, show)
    except KeyboardInterrupt:
        show.tell("Interrupted; all parts are stopped.")
        return 130
    except EXPECTED as error:
        errors = Console(stderr=True)
        errors.print(f"The demo failed: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        return 1


def run(root: Path, show: Show, count: int) -> int:
    """Start afresh, play, sum up, stop."""
    _make_way(root, show)
    shutil.rmtree(root, ignore_errors=True)
    began = time.monotonic()
    stack = Stack(root, owner=this_process(), tell=show.tell)
    results: list[dict[str, Any]] = []
    wanted = [one.expected for one in RUNS[:count]]
    try:
        show.tell("Starting a warehouse, MLflow, a gateway and Airflow, about a minute. Logs are in " + str(stack.logs))
        stack.start()
        play = Play(stack, show)
        play.prepare()
        for one in RUNS[:count]:
            results.append(play.run(one))
            # Written after each run: whoever stops the demo half-way keeps what it had.
            write_summary(root / "summary.json", {"runs": results, "seconds": round(time.monotonic() - began, 1)})
            if results[-1]["outcome"] != one.expected:
                break
    finally:
        _stop(stack, show)
    show.console.print(closing_table(results, wanted))
    show.tell(f"{time.monotonic() - began:.0f} s. Summary: {root / 'summary.json'}. To look at it in Airflow: make up")
    return 0 if [one["outcome"] for one in results] == wanted else 1


def up(root: Path, show: Show) -> int:
    """Start the parts on what the last demo left, or with the first run's data, and leave them running."""
    _make_way(root, show)
    fresh = not (root / "airflow" / "airflow.db").exists()
    stack = Stack(root, owner=None, tell=show.tell)
    try:
        stack.start()
        play = Play(stack, show)
        play.prepare()
        if fresh:
            play.load(RUNS[0].until)
    except BaseException:
        _stop(stack, show)
        raise
    show.tell(
        f"\nAirflow   {stack.airflow.base_url}   user {stack.airflow.username}, password {stack.airflow.password}"
    )
    show.tell(f"MLflow    {stack.mlflow.uri}\nStop it   make down")
    return 0


def down(root: Path, show: Show) -> int:
    """Stop what runs."""
    state = DemoState.load(root / "state.json")
    if state is None or not state.is_running():
        show.tell("Nothing of the demo runs.")
    else:
        killed = state.stop()
        show.tell("The demo is stopped." + (f" Killed after 30 s: {'; '.join(killed)}" if killed else ""))
    (root / "state.json").unlink(missing_ok=True)
    return 0


def status(root: Path, show: Show) -> int:
    """Say what runs and where; 0 where all parts run, 3 where not (as init scripts answer)."""
    state = DemoState.load(root / "state.json")
    if state is None or not state.is_running():
        show.tell("Nothing of the demo runs.")
        return 3
    alive = [one.find() is not None for one in state.processes]
    for one, is_alive in zip(state.processes, alive, strict=True):
        show.tell(f"{one.name:14} {'pid ' + str(one.pid) if is_alive else 'ended'}")
    for name, address in state.addresses.items():
        show.tell(f"{name:14} {address}")
    passwords = root / "airflow" / "passwords.json"
    if passwords.exists():
        for user, password in json.loads(passwords.read_text()).items():
            show.tell(f"{'login':14} user {user}, password {password}")
    return 0 if alive and all(alive) else 3


def _make_way(root: Path, show: Show) -> None:
    """Make sure that nothing of an earlier start runs.

    Raises:
        RuntimeError: a demo is being played or was left up on purpose.
    """
    state = DemoState.load(root / "state.json")
    if state is None or not state.is_running():
        return
    if state.owner is None or state.owner.find() is not None:
        raise RuntimeError(f"A demo is running in {root}. Stop it first: make down")
    show.tell("Stopping what an interrupted demo left behind.")
    state.stop()


def _stop(stack: Stack, show: Show) -> None:
    """Stop all parts; a second Ctrl-C does not interrupt that, since it would leave some running."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        killed = stack.stop()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    for command in killed:
        show.tell(f"Had to be killed: {command}")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
