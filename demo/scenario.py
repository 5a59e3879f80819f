"""What the demo plays: three passages of real flights through the line, each with the end it must have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from airflow_ml.core.canary import INSTALLED, PROMOTED, ROLLED_BACK, Rollout
from airflow_ml.testing.child_process import ChildFailed
from demo import flights
from demo.airflow_stack import Stack
from demo.progress import Line, Show
from demo.stages import last, now
from demo.summary import run_summary
from demo.traffic import Traffic

TRAIN, RELEASE, WATCH = "flight_delays_train", "flight_delays_release", "flight_delays_watch"
#: Deadlines of one DAG run; far above what each takes, so that only a hanging one meets them.
TRAIN_SECONDS, RELEASE_SECONDS, WATCH_SECONDS = 1200.0, 600.0, 300.0
#: Wall-clock seconds in which a day of flights passes during a canary.
SECONDS_PER_DAY = 2.0


@dataclass(frozen=True, slots=True)
class Run:
    """One passage: data up to a day, a training run, its release with traffic, and a look back."""

    name: str
    #: The story in one sentence.
    about: str
    #: The warehouse holds what was known by then, and the run stands for that moment.
    until: datetime
    #: Outcome of the rollout; ``stopped at <stage>`` where the line must not get that far.
    expected: str
    #: Parameters of the training DAG.
    conf: Mapping[str, Any] = field(default_factory=dict)
    #: First day of the flights that are replayed as traffic during the canary; None for no traffic.
    traffic_from: date | None = None
    traffic_days: int = 21
    #: The moment for which scores and drift are computed afterwards; None to leave it out.
    watched_at: datetime | None = None


def _day(month: int, day: int) -> datetime:
    return datetime(2013, month, day, tzinfo=UTC)


RUNS: tuple[Run, ...] = (
    Run(
        name="1 first champion",
        about="January to March, schedule only: there is no champion, so it is installed after the gates.",
        until=_day(4, 1),
        expected=INSTALLED,
        conf={"view": "schedule", "trials_per_group": 80},
        watched_at=_day(4, 1),
    ),
    Run(
        name="2 better challenger",
        about="January to April, with weather and recent delays: traffic from 1 May proves it better.",
        until=_day(5, 1),
        expected=PROMOTED,
        conf={"view": "conditions", "trials_per_group": 8},
        traffic_from=date(2013, 5, 1),
        watched_at=_day(5, 1),
    ),
    Run(
        name="3 leaking challenger",
        about="The same, and one feature that is not known in time: every offline gate believes it, traffic does not.",
        until=_day(5, 1),
        expected=ROLLED_BACK,
        conf={"view": "hindsight", "trials_per_group": 8},
        traffic_from=date(2013, 5, 1),
        watched_at=_day(5, 1),
    ),
)


class Play:
    """Plays runs on a started stack.

    Args:
        stack: The parts, ready.
        show: Where progress goes.
    """

    def __init__(self, stack: Stack, show: Show) -> None:
        self._stack = stack
        self._api = stack.airflow.api
        self._show = show
        self._loaded_until: datetime | None = None

    def prepare(self) -> None:
        """Wait for the DAGs and let the scheduler run them.

        Raises:
            ApiError: a DAG does not load.
        """
        for dag_id in (TRAIN, RELEASE, WATCH):
            self._api.wait_for_dag(dag_id)
            self._api.unpause(dag_id)

    def load(self, until: datetime) -> None:
        """Let the warehouse receive what became known since the last load."""
        if self._loaded_until is not None and until <= self._loaded_until:
            return
        began = now()
        written = flights.load(self._stack.warehouse.connect, until=until, since=self._loaded_until)
        self._loaded_until = until
        rows = ", ".join(f"{count:,} {table}" for table, count in written.items() if count)
        self._show.tell(f"Loaded until {until:%d %B %Y}: {rows} ({(now() - began).total_seconds():.0f} s)")

    def run(self, run: Run) -> dict[str, Any]:
        """Play one run to its end and return its entry of the summary; a failed line is an outcome, not an error.

        Raises:
            ApiError: Airflow stopped answering or a DAG run hangs.
            ChildFailed: the traffic failed.
        """
        self._show.tell(f"\nRun {run.name}. {run.about}")
        self.load(run.until)
        run_id = f"demo__{run.name.split()[0]}__{run.until:%Y-%m-%d}"
        line = Line(self._api, f"Run {run.name}", TRAIN, self._trigger(TRAIN, run_id, run.until, run.conf))
        self._show.follow(line, until=lambda: self._trained(line), timeout_seconds=TRAIN_SECONDS)
        if line.run_of(RELEASE) is not None:
            self._release(run, line)
            if run.watched_at is not None and not line.failed:
                line.add(WATCH, self._trigger(WATCH, run_id, run.watched_at, {}))
                self._show.follow(line, until=lambda: line.ended, timeout_seconds=WATCH_SECONDS)
        outcome = outcome_of(line)
        if outcome != run.expected:
            for failure in line.failures():
                self._show.tell(failure)
        return run_summary(run.name, outcome, line.records(), line.stages, now())

    def _release(self, run: Run, line: Line) -> None:
        """Follow the canary, with traffic if the run has some."""
        if run.traffic_from is None:
            self._show.follow(line, until=lambda: line.ended, timeout_seconds=RELEASE_SECONDS)
            return
        name = run.name.split()[0]
        with Traffic(self._stack, name, run.traffic_from, run.traffic_days, SECONDS_PER_DAY) as traffic:
            line.notes["canary"] = traffic.figures
            self._show.follow(
                line, until=lambda: line.ended or traffic.failure() is not None, timeout_seconds=RELEASE_SECONDS
            )
            if not line.ended and (failure := traffic.failure()) is not None:
                raise ChildFailed(failure)

    def _trigger(self, dag_id: str, run_id: str, run_after: datetime, conf: Mapping[str, Any]) -> str:
        return self._api.trigger(dag_id, run_id=run_id, run_after=run_after, conf=conf)

    def _trained(self, line: Line) -> bool:
        """Training has failed, or the release that its asset starts is there."""
        return line.failed or line.run_of(RELEASE) is not None


def outcome_of(line: Line) -> str:
    """Return the rollout's outcome, or at which stage the line stopped before it."""
    stopped = next((one for one in line.stages if one.state == "failed"), None)
    rollout = last(line.records("canary"), Rollout)
    if rollout is not None and (stopped is None or stopped.stage.name == "canary"):
        return rollout.outcome
    return f"stopped at {stopped.stage.name}" if stopped is not None else "unfinished"
