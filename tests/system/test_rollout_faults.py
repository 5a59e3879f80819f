"""Canaries in a real Airflow on PostgreSQL, while its processes are killed, ended and frozen in each of their states.

Several canaries share each fault, one in each state; where one is, is known since a failpoint holds it there. What must
hold whatever happens is checked over the whole recorded history. Run one test at a time on a small machine: each takes
two to six minutes beside the minute that everything needs to start.
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


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_triggerer_is_ended_in_each_state(rig: RolloutRig, take: Take, number: signal.Signals) -> None:
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
    rig.airflow.signal("triggerer", number)
    if number == signal.SIGTERM:
        time.sleep(2)
        rig.stalls.release()  # what is under way goes on while it shuts down
    psutil.wait_procs([triggerer], timeout=60)
    rig.stalls.release()
    rig.airflow.start_component("triggerer")
    act(rig, waiting, "resume")
    all_promoted(rig, models)


def test_a_freeze_of_90_s_rolls_nothing_back(rig: RolloutRig, take: Take) -> None:
    models = take(3)
    begin_and_hold(rig, models)
    for point in STEPPING:
        rig.stalls.arm(point)
    wait_held(rig, STEPPING, 60)
    rig.airflow.signal("triggerer", signal.SIGSTOP)
    time.sleep(90)
    rig.airflow.signal("triggerer", signal.SIGCONT)
    rig.stalls.release()
    for model in models:
        act(rig, model, "resume")
    all_promoted(rig, models)


def test_a_frozen_triggerer_whose_triggers_another_took_kills_nothing(rig: RolloutRig, take: Take) -> None:
    models = take(3)
    begin_and_hold(rig, models)
    rig.airflow.start_component("triggerer-2")
    try:
        before = {model: looks(rig, model) for model in models}
        rig.airflow.signal("triggerer", signal.SIGSTOP)
        for model in models:
            wait_for(f"the other leads {model}", lambda model=model: looks(rig, model) > before[model] + 2, 120)
        rig.airflow.signal("triggerer", signal.SIGCONT)  # it wakes up and believes that they were killed
        time.sleep(15)
        for model in models:
            act(rig, model, "resume")
        all_promoted(rig, models)
    finally:
        rig.airflow.signal("triggerer-2", signal.SIGTERM)


def looks(rig: RolloutRig, model: str) -> int:
    state = rig.state(model)
    return state.looks if state else 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP])
def test_a_worker_is_ended_before_the_first_traffic_and_after_the_last(
    rig: RolloutRig, take: Take, number: signal.Signals
) -> None:
    models = take(4)
    for point in (*PREFLIGHT, *PROJECTION):
        rig.stalls.arm(point)
    rig.begin(models)
    pids = wait_held(rig, (*PREFLIGHT, *PROJECTION))
    hit = [psutil.Process(pid) for pid in pids]
    # Task and supervisor: a machine that is lost, asked to end, or stops for a while.
    hit = [process.parent() or process for process in hit] + ([] if number == signal.SIGTERM else hit)
    for process in hit:
        process.send_signal(number)
    if number == signal.SIGSTOP:
        time.sleep(20)
        for process in hit:
            process.send_signal(signal.SIGCONT)
    else:
        time.sleep(5)
    rig.stalls.release()
    all_promoted(rig, models)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("component", ["scheduler", "api-server"])
def test_another_part_of_airflow_is_gone_for_a_while(
    rig: RolloutRig, take: Take, component: str, number: signal.Signals
) -> None:
    (held, *models) = take(3)
    begin_and_hold(rig, [held])
    points = (PREFLIGHT[0], PROJECTION[0])
    for point in points:
        rig.stalls.arm(point)
    rig.begin(models)
    wait_held(rig, points)
    before = looks(rig, held)
    rig.airflow.signal(component, number)
    time.sleep(10)
    rig.stalls.release()
    time.sleep(20)
    assert looks(rig, held) > before, "the trigger needs neither scheduler nor API server"
    if number == signal.SIGSTOP:
        rig.airflow.signal(component, signal.SIGCONT)
    else:
        rig.airflow.start_component(component)
    act(rig, held, "resume")
    all_promoted(rig, [held, *models])


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


@pytest.mark.parametrize("triggerer", ["up", "gone"])
def test_what_a_human_ends_has_no_traffic_within_210_s(rig: RolloutRig, take: Take, triggerer: str) -> None:
    models = take(4)
    begin_and_hold(rig, models)
    if triggerer == "gone":
        process = rig.airflow.component("triggerer")
        rig.airflow.signal("triggerer", signal.SIGKILL)
        psutil.wait_procs([process], timeout=30)
    since = time.monotonic()
    for model, end in zip(models, HUMAN_ENDS.values(), strict=True):
        end(rig, model)
    # A deleted DAG's file is still there: with nobody to stop it, it would be back; that changes nothing.
    at_weight_0(rig, models, since, 210)


def test_what_a_human_ends_while_it_promotes_is_one_or_the_other(rig: RolloutRig, take: Take) -> None:
    models = take(2)
    for point in PROMOTING:
        rig.stalls.arm(point)
    rig.begin(models)
    wait_held(rig, PROMOTING)
    for model in models:
        rig.set_task(model, "failed")
    time.sleep(5)
    rig.stalls.release()
    for model in models:
        wait_for(f"{model} has ended", lambda model=model: rig.ended(model), 210)
        assert rig.weight(model) == 0
    assert rig.violations(models) == []
    promoted = [model for model in models if (state := rig.state(model)) is not None and state.state == "promoted"]
    for model in promoted:  # served, and nobody was left to move the alias
        assert rig.alias(model) == "1"
        rig.clear(model)
        wait_for(f"the alias of {model} follows", lambda model=model: rig.alias(model) == "2", 240)
    assert rig.violations(models) == []


def test_what_a_human_promotes_outlives_the_triggerer(rig: RolloutRig, take: Take) -> None:
    models = take(2)
    begin_and_hold(rig, models)
    for point in PROMOTING:
        rig.stalls.arm(point)
    for model in models:
        act(rig, model, "promote")
    wait_held(rig, PROMOTING)
    triggerer = rig.airflow.component("triggerer")
    rig.airflow.signal("triggerer", signal.SIGKILL)
    psutil.wait_procs([triggerer], timeout=60)
    rig.stalls.release()
    rig.airflow.start_component("triggerer")
    all_promoted(rig, models)
    for model in models:
        state = rig.state(model)
        assert state is not None
        assert state.reason.startswith("Promoted by a test: to know where it is.")
        assert state.weights == (state.plan.steps[0].weight_percent,), "the steps that were left are skipped"


@pytest.mark.parametrize("late", [False, True])
def test_a_cleared_task_goes_on_with_its_rollout(rig: RolloutRig, take: Take, late: bool) -> None:
    models = take(1)
    begin_and_hold(rig, models)
    (model,) = models
    if late:  # the old trigger's on_kill comes after the next attempt has begun
        rig.airflow.signal("triggerer", signal.SIGSTOP)
    rig.clear(model)
    state = rig.state
    wait_for("the next attempt leads", lambda: (found := state(model)) is not None and found.claim == 2, 120)
    if late:
        time.sleep(5)
        rig.airflow.signal("triggerer", signal.SIGCONT)
    act(rig, model, "resume")
    all_promoted(rig, models)


def test_all_of_airflow_is_killed(rig: RolloutRig, take: Take) -> None:
    models = take(2, "short")
    begin_and_hold(rig, models)
    dying = [rig.airflow.component(name) for name in COMPONENTS]
    since = time.monotonic()
    for name in COMPONENTS:
        rig.airflow.signal(name, signal.SIGKILL)
    psutil.wait_procs(dying, timeout=30)
    for model in models:
        took = wait_for(f"the router itself ends {model}", lambda model=model: rig.weight(model) == 0, 45)
        assert took < 45
    assert time.monotonic() - since < 60
    for name in COMPONENTS:
        rig.airflow.start_component(name)
    at_weight_0(rig, models, time.monotonic(), 240)
