"""Canaries in a real Airflow on PostgreSQL, while its processes are killed and its users end them, in each state.

Several canaries share each fault, one in each state; where one is, is known since a failpoint holds it there. What must
hold whatever happens is checked over the whole recorded history. Run one test at a time on a small machine: each takes
one to four minutes beside the minute or two that everything needs to start.
"""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from airflow_ml.runtime.rollout_acts import RolloutActs
from airflow_ml.testing.airflow_instance import COMPONENTS
from airflow_ml.testing.postgres_server import available
from airflow_ml.testing.rollout_rig import RolloutRig, wait_for

pytestmark = [
    pytest.mark.system,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not available(), reason="needs PostgreSQL's programs"),
]
#: In these a trigger is held within a look: at the first steps, and while it promotes.
STEPPING = ("rollout.after_intent", "rollout.after_router")
PROMOTING = ("rollout.after_end_intent", "rollout.after_end_router")
PREFLIGHT = ("rollout.after_create", "rollout.after_preflight_router")
PROJECTION = ("promotion.before_alias", "promotion.after_alias")

Take = Callable[..., list[str]]


@pytest.fixture(scope="module")
def rig() -> Iterator[RolloutRig]:
    models = [f"{kind}{number:02}" for kind in ("usual", "short") for number in range(40)]
    with tempfile.TemporaryDirectory(prefix="rollout-faults-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # PostgreSQL runs as another user
        with RolloutRig(directory, models) as rig:
            yield rig
        assert rig.airflow.running() == []


@pytest.fixture
def take(rig: RolloutRig) -> Take:
    """Give models that no test has had."""

    def some(count: int, kind: str = "usual") -> list[str]:
        return [model for model in rig.models if model.startswith(kind) and rig.state(model) is None][:count]

    return some


@pytest.fixture(autouse=True)
def all_up(rig: RolloutRig) -> Iterator[None]:
    yield
    rig.stalls.release()
    for name in COMPONENTS:
        try:
            rig.airflow.signal(name, signal.SIGCONT)
        except KeyError:
            rig.airflow.start_component(name)


def act(rig: RolloutRig, model: str, kind: str) -> None:
    acts = RolloutActs(rig.store, clock=lambda: datetime.now(UTC))
    getattr(acts, kind)(model, "prod", who="a test", why="to know where it is")


def split(rig: RolloutRig, model: str) -> bool:
    state = rig.state(model)
    return state is not None and state.live and state.weight_percent > 0 and state.confirmed


def begin_and_hold(rig: RolloutRig, models: Sequence[str]) -> None:
    """Start canaries and keep each between two looks at its first step."""
    rig.begin(models)
    for model in models:
        wait_for(f"{model} is split", lambda model=model: split(rig, model), 240)
        act(rig, model, "hold")


def wait_held(rig: RolloutRig, points: Sequence[str], seconds: float = 240) -> list[int]:
    for point in points:
        wait_for(f"somebody is at {point}", lambda point=point: rig.stalls.held(point), seconds)
    return [pid for pid in map(rig.stalls.held, points) if pid is not None]


def all_promoted(rig: RolloutRig, models: Sequence[str], seconds: float = 300) -> None:
    deadline = time.monotonic() + seconds
    for model in models:
        wait_for(f"{model} has ended", lambda model=model: rig.ended(model), deadline - time.monotonic())
        state = rig.state(model)
        assert state is not None
        assert state.state == "promoted", state.reason
        wait_for(f"the task of {model} succeeds", lambda model=model: rig.task(model) == "success", 180)
        assert rig.alias(model) == "2"
        assert rig.alias(model, "previous") == "1"
    assert rig.violations(models) == []


def at_weight_0(rig: RolloutRig, models: Sequence[str], since: float, seconds: float) -> None:
    for model in models:
        wait_for(
            f"{model} has no traffic", lambda model=model: rig.weight(model) == 0, since + seconds - time.monotonic()
        )
    for model in models:
        wait_for(f"{model} has ended", lambda model=model: rig.ended(model), since + seconds - time.monotonic())
        state = rig.state(model)
        assert state is not None
        assert state.state == "rolled_back", state.reason
        assert rig.alias(model) == "1"
    assert rig.violations(models) == []


def test_left_alone_a_canary_is_promoted(rig: RolloutRig, take: Take) -> None:
    models = take(1)
    rig.begin(models)
    all_promoted(rig, models)


def test_a_triggerer_is_killed_in_each_state(rig: RolloutRig, take: Take) -> None:
    models = take(5)
    for point in STEPPING:
        rig.stalls.arm(point)
    rig.begin(models)
    wait_held(rig, STEPPING)
    wait_for("one is between two looks", lambda: any(split(rig, model) for model in models), 120)
    waiting = next(model for model in models if split(rig, model))
    act(rig, waiting, "hold")
    for point in PROMOTING:
        rig.stalls.arm(point)
    wait_held(rig, PROMOTING)
    triggerer = rig.airflow.component("triggerer")
    rig.airflow.signal("triggerer", signal.SIGKILL)
    psutil.wait_procs([triggerer], timeout=60)
    rig.stalls.release()
    rig.airflow.start_component("triggerer")
    act(rig, waiting, "resume")
    all_promoted(rig, models)


def test_a_worker_is_killed_before_the_first_traffic_and_after_the_last(rig: RolloutRig, take: Take) -> None:
    models = take(4)
    for point in (*PREFLIGHT, *PROJECTION):
        rig.stalls.arm(point)
    rig.begin(models)
    pids = wait_held(rig, (*PREFLIGHT, *PROJECTION))
    hit = [psutil.Process(pid) for pid in pids]
    # Task and supervisor, as where a machine is lost: Airflow learns of it by the heartbeat that does not come.
    for process in [*(process.parent() or process for process in hit), *hit]:
        process.kill()
    time.sleep(5)
    rig.stalls.release()
    all_promoted(rig, models)


def delete_run(rig: RolloutRig, model: str) -> None:
    """Delete a run as its user must: Airflow deletes none that runs."""
    rig.airflow.api.request("PATCH", f"/dags/canary_{model}/dagRuns/run", body={"state": "failed"})
    rig.airflow.api.request("DELETE", f"/dags/canary_{model}/dagRuns/run")


HUMAN_ENDS: dict[str, Callable[[RolloutRig, str], object]] = {
    "marked failed": lambda rig, model: rig.set_task(model, "failed"),
    "marked success": lambda rig, model: rig.set_task(model, "success"),
    "run deleted": delete_run,
    "dag deleted": lambda rig, model: rig.airflow.api.request("DELETE", f"/dags/canary_{model}"),
}


def test_what_a_human_ends_has_no_traffic_within_210_s(rig: RolloutRig, take: Take) -> None:
    models = take(4)
    begin_and_hold(rig, models)
    since = time.monotonic()
    for model, end in zip(models, HUMAN_ENDS.values(), strict=True):
        end(rig, model)
    # A deleted DAG's file is still there: with nobody to stop it, it would be back; that changes nothing.
    at_weight_0(rig, models, since, 210)
