"""Watching one run of the line, stage by stage: a live table in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.live import Live
from rich.table import Table

from airflow_ml.core.record import Record, parse
from airflow_ml.testing.airflow_api import RUN_ENDED, AirflowAPI, ApiError, TaskState
from demo.stages import STAGES, Progress, now, progress

_COLOURS = {"success": "green", "failed": "bold red", "running": "yellow", "not run": "dim", "waiting": "dim"}
#: A look costs the API server a few requests; more often would slow the tasks it reports on.
POLL_SECONDS = 1.5
#: For how long Airflow may leave looks unanswered.
SILENCE_SECONDS = 60.0

RunKey = tuple[str, str]


class Line:
    """One passage of data through the stages: a DAG run and the runs that its asset events start.

    Args:
        api: The Airflow.
        name: What it is called in tables.
        dag_id: The DAG that begins it.
        run_id: Its run.
    """

    def __init__(self, api: AirflowAPI, name: str, dag_id: str, run_id: str) -> None:
        self.api = api
        self.name = name
        self.runs: dict[RunKey, str] = {(dag_id, run_id): "queued"}
        self.tasks: dict[RunKey, list[TaskState]] = {}
        #: What to say of a stage by name while it has no record yet.
        self.notes: dict[str, Callable[[], str]] = {}
        self._records: dict[tuple[RunKey, str, str], Record] = {}
        self._seen: set[tuple[RunKey, str, str]] = set()

    def add(self, dag_id: str, run_id: str) -> None:
        """Make another DAG run part of this line."""
        self.runs[dag_id, run_id] = "queued"

    def look(self) -> None:
        """Read the states and records once."""
        for key, state in list(self.runs.items()):
            for started in self.api.triggered_runs(*key):
                self.runs.setdefault(started, "queued")
            if state in RUN_ENDED:
                continue
            # The run's state first: what is read after it is then no older.
            reached = self.api.run_state(*key)
            self.tasks[key] = self.api.tasks(*key)
            self._read_records(key)
            self.runs[key] = reached

    def run_of(self, dag_id: str) -> RunKey | None:
        """Return the run of a DAG in this line; None where it has not started."""
        return next((key for key in self.runs if key[0] == dag_id), None)

    @property
    def ended(self) -> bool:
        """Whether every run of it has ended."""
        return all(state in RUN_ENDED for state in self.runs.values())

    @property
    def failed(self) -> bool:
        """Whether a run of it has failed."""
        return "failed" in self.runs.values()

    @property
    def stages(self) -> list[Progress]:
        """How far each stage has come."""
        tasks = [task for found in self.tasks.values() for task in found]
        return [progress(stage, tasks) for stage in STAGES]

    def records(self, stage_name: str | None = None) -> list[Record]:
        """Return the records pushed so far, in the order of the stages; of one stage, if named."""
        return [
            record
            for stage in STAGES
            if stage_name in (None, stage.name)
            for (_, task_id, _), record in self._records.items()
            if stage.has(task_id)
        ]

    def figures(self, one: Progress) -> str:
        """Return what a stage's records say, or while it runs its note."""
        said = one.stage.figures(self.records(one.stage.name))
        note = self.notes.get(one.stage.name)
        return said or (note() if note is not None and one.state == "running" else "")

    def failures(self, lines: int = 15) -> list[str]:
        """Return, for each failed task, its name and the end of its log."""
        found = []
        for key, tasks in self.tasks.items():
            for task in tasks:
                if task.state == "failed":
                    mapped = f"[{task.map_index}]" if task.map_index >= 0 else ""
                    log = "\n    ".join(self.api.log(*key, task)[-lines:])
                    found.append(f"{key[0]}.{task.task_id}{mapped} failed:\n    {log}")
        return found

    def _read_records(self, key: RunKey) -> None:
        for task_id, name in self.api.xcom_keys(*key):
            if (entry := (key, task_id, name)) in self._seen:
                continue
            value: Any = self.api.xcom(*key, task_id, name)
            if isinstance(value, dict) and "record" in value:
                self._records[entry] = parse(value)
            self._seen.add(entry)


class Show:
    """Writes the progress of lines to a terminal or, line by line, to a file."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console()
        self._told: dict[tuple[str, str], str] = {}

    def tell(self, text: str) -> None:
        """Print one line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def follow(self, line: Line, *, until: Callable[[], bool], timeout_seconds: float) -> None:
        """Look at a line until ``until()`` is true.

        Raises:
            ApiError: it had not come so far in time, or Airflow stopped answering.
        """
        deadline = time.monotonic() + timeout_seconds
        answered = time.monotonic()
        with Live(console=self.console, auto_refresh=False, transient=False) as live:
            while True:
                try:
                    line.look()
                    answered = time.monotonic()
                except ApiError:
                    # A loaded machine's API server may miss a look; the tasks go on meanwhile.
                    if time.monotonic() - answered > SILENCE_SECONDS:
                        raise
                if self.console.is_terminal:
                    live.update(stage_table(line), refresh=True)
                else:
                    self._tell_changes(line)
                if until():
                    return
                if time.monotonic() > deadline:
                    states = ", ".join(f"{dag_id} is {state}" for (dag_id, _), state in line.runs.items())
                    raise ApiError(f"{line.name} did not get on within {timeout_seconds:g} s: {states}.")
                time.sleep(POLL_SECONDS)

    def _tell_changes(self, line: Line) -> None:
        for one in line.stages:
            figures = line.figures(one)
            text = f"{one.state}{f' ({figures})' if figures else ''}"
            if one.state == "waiting" or self._told.get((line.name, one.stage.name)) == text:
                continue
            self._told[line.name, one.stage.name] = text
            seconds = one.seconds(now())
            self.tell(f"  {line.name}: {one.stage.name} {text}" + (f" {seconds:.0f} s" if seconds is not None else ""))


def stage_table(line: Line) -> Table:
    """Return the table of a line's stages as they are now."""
    table = Table(title=line.name, title_justify="left", expand=False)
    table.add_column("stage")
    table.add_column("tasks")
    table.add_column("what came of it", min_width=44)
    table.add_column("seconds", justify="right")
    for one in line.stages:
        count = f" {one.done}/{one.tasks}" if one.tasks > 1 else ""
        colour = _COLOURS.get(one.state, "")
        seconds = one.seconds(now())
        table.add_row(
            one.stage.name,
            f"[{colour}]{one.state}{count}[/]" if colour else f"{one.state}{count}",
            line.figures(one),
            f"{seconds:.0f}" if seconds is not None else "",
        )
    return table


def closing_table(runs: Sequence[dict[str, Any]], expected: Iterable[str]) -> Table:
    """Return one row per run of the summary, beside the outcome that was expected."""
    table = Table(title="What came of it", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0), show_edge=False)
    for name in ("run", "outcome", "rows", "inputs", "trials", "best", "days", "s"):
        table.add_column(name, justify="left" if name in ("run", "outcome") else "right", no_wrap=True)
    # A run with another outcome than expected is the last one.
    for run, wanted in zip(runs, expected, strict=False):
        sweep, rollout = run.get("sweep", {}), run.get("rollout", {})
        best = next((value for name, value in sweep.get("best", {}).items() if isinstance(value, float)), None)
        met = run["outcome"] == wanted
        table.add_row(
            run["name"],
            f"[green]{run['outcome']}[/]" if met else f"[bold red]{run['outcome']}, expected {wanted}[/]",
            f"{run['snapshot']['rows']:,}" if "snapshot" in run else "",
            f"{run['features']['columns']}" if "features" in run else "",
            f"{sweep['trials']}" if sweep else "",
            f"{best:.4f}" if best is not None else "",
            f"{rollout['data_days']}" if rollout else "",
            f"{sum(run['seconds'].values()):.0f}",
        )
    return table
