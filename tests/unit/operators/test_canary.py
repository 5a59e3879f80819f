"""The operators and the trigger over the memory twins, as worker and triggerer run them one after the other."""

from __future__ import annotations

import asyncio
import itertools
import json
import uuid
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import AssetAlias, BaseNotifier
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, TaskAwaitingInput, TaskDeferred

import airflow_ml.hooks.store
import airflow_ml.operators.canary_leading
import airflow_ml.operators.canary_run
import airflow_ml.operators.rollback
import airflow_ml.triggers.canary
import airflow_ml.triggers.rollout_turn
from airflow_ml.adapters.memory.registry import MemoryRegistry
from airflow_ml.adapters.namespaced_registry import in_namespace
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.canary import Rollout
from airflow_ml.core.ports import Reading
from airflow_ml.core.served_name import served_name
from airflow_ml.errors import ArtifactNotFound, ConfigurationError, RouterFailed, StoreUnavailable
from airflow_ml.operators.ab_test import ABTestOperator, ShadowOperator
from airflow_ml.operators.canary import CanaryOperator
from airflow_ml.operators.rollback import RollbackOperator
from airflow_ml.runtime.callable_metrics import CallableMetrics
from airflow_ml.runtime.rollout import RolloutDriver
from airflow_ml.testing.rollout_world import MODEL, Metrics, World
from airflow_ml.triggers.canary import CanaryTrigger
from airflow_ml.triggers.rollout_turn import RolloutTurnTrigger

STEPS = [(5, "1d"), (50, "1d"), 100]


class Events(defaultdict[AssetAlias, Any]):
    """What a task tells about assets."""

    def __init__(self) -> None:
        super().__init__(lambda: SimpleNamespace(add=lambda asset, extra: self.told.append((asset.uri, extra))))
        self.told: list[tuple[str, dict[str, Any]]] = []


class Line:
    """A registry with versions, a world with traffic, and the task instance that runs the operator."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.world = World()
        self.registry = MemoryRegistry()
        self.folder = folder
        self.events = Events()
        #: What traffic leads to in namespaces other than prod.
        self.elsewhere: dict[str, Metrics] = {}
        hook = SimpleNamespace(registry=lambda: self.registry)
        for module in (airflow_ml.operators.canary_run, airflow_ml.operators.rollback):
            monkeypatch.setattr(module, "MLflowHook", lambda conn_id: hook)
            monkeypatch.setattr(module, "rollout_driver", self.driver)
        monkeypatch.setattr(airflow_ml.triggers.canary, "rollout_driver", self.driver)
        monkeypatch.setattr(airflow_ml.hooks.store, "artifact_store", lambda: self.world.store)
        monkeypatch.setattr(airflow_ml.hooks.store, "namespace", lambda: "prod")

    def driver(
        self,
        model: str,
        *,
        namespace: str,
        lease_seconds: float,
        function: Any = None,
        source: Any = None,
        **conn_ids: str,
    ) -> RolloutDriver:
        def champion_of() -> str | None:
            found = in_namespace(self.registry, namespace).by_alias(model, "champion")
            return found.version if found else None

        return RolloutDriver(
            self.world.store,
            self.world.router,
            CallableMetrics(function) if function else self.metrics(namespace),
            clock=lambda: self.world.now,
            lease_seconds=lease_seconds,
            champion_of=champion_of,
        )

    def metrics(self, namespace: str) -> Metrics:
        return self.elsewhere.get(namespace, self.world.metrics)

    def register(self, *aliases: str) -> str:
        (self.folder / "MLmodel").write_text("flavors: {}")
        number = len(self.registry._versions) + 1
        artifact = Artifact(digest=f"sha256:{number:064x}", format="json", size_bytes=1, uri="memory:").to_dict()
        made = self.registry.register(
            MODEL,
            key=str(number),
            model_dir=self.folder,
            params={},
            metrics={},
            tags={
                "airflow_ml.models": json.dumps(artifact),
                "airflow_ml.view_digest": "sha256:v",
                "airflow_ml.view_definition": json.dumps(artifact),
                "airflow_ml.features": '["distance"]',
                "airflow_ml.data": json.dumps(artifact),
            },
            files={},
            experiment="e",
        )
        for alias in aliases:
            self.move(alias, made.version)
        return made.version

    def move(self, alias: str, version: str) -> None:
        held = self.registry.by_alias(MODEL, alias)
        self.registry.set_alias(MODEL, alias, version, expected=held.version if held else None)

    def alias(self, alias: str) -> str | None:
        found = self.registry.by_alias(MODEL, alias)
        return found.version if found else None

    def context(self, run: str) -> Any:
        instance = SimpleNamespace(dag_id="release", run_id=run, task_id="canary", map_index=-1, id=uuid.uuid4())
        return {"ti": instance, "task_instance": instance, "outlet_events": self.events}

    def operator(self, **changes: Any) -> CanaryOperator:
        return CanaryOperator(
            model=MODEL, **{"steps": STEPS, "max_data_days": 6, "poll_interval_seconds": 0.0, **changes}
        )

    def release(self, run: str = "r1", **changes: Any) -> Rollout:
        """Execute, run the trigger in what stands for a triggerer, resume."""
        operator = self.operator(**changes)
        try:
            return Rollout.from_dict(operator.execute(self.context(run)))
        except TaskDeferred as deferred:
            event = self.lead(deferred.trigger)
        return Rollout.from_dict(operator.execute_complete(self.context(run), event))

    def lead(self, trigger: Any) -> dict[str, Any]:
        path, kwargs = trigger.serialize()
        assert path == f"{CanaryTrigger.__module__}.{CanaryTrigger.__name__}"
        again = CanaryTrigger(**json.loads(json.dumps(kwargs)))
        looked = again.look_once

        def look_after_a_day() -> Any:
            self.metrics(again.namespace).pass_day()
            return looked()

        again.look_once = look_after_a_day  # type: ignore[method-assign]

        async def first() -> dict[str, Any]:
            async for event in again.run():
                payload: dict[str, Any] = event.payload
                return payload
            raise AssertionError("no event")

        return asyncio.run(first())


@pytest.fixture
def line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Line:
    return Line(tmp_path, monkeypatch)


def test_without_a_champion_the_challenger_is_installed(line: Line) -> None:
    line.register("challenger")
    record = line.release()
    assert (record.outcome, record.champion, record.challenger) == ("installed", "", "1")
    assert line.alias("champion") == "1"
    assert line.world.traffic.champion["version"] == "1"
    assert line.events.told == [
        ("mlflow://flights@champion", {"version": "1", "previous": "", "outcome": "installed"}),
    ]


def test_a_better_challenger_becomes_champion_and_the_old_one_previous(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    record = line.release()
    assert (record.outcome, record.weights) == ("promoted", (5, 50, 100))
    assert (line.alias("champion"), line.alias("previous")) == ("2", "1")
    assert line.registry.get(MODEL, "2").tags["airflow_ml.rollout_owner"] == "release/r1/canary"
    assert len(line.events.told) == 1


def observed(line: Line) -> Line:
    """A champion that has answered 4,000 units a day for three days, and a challenger."""
    line.register("challenger")
    line.release("r0")
    for _ in range(3):
        line.world.metrics.pass_day()
    line.register("challenger")
    return line


def test_a_plan_that_can_never_decide_is_refused_before_anything_begins(line: Line) -> None:
    before = observed(line).world.newest
    with pytest.raises(AirflowFailException, match=r"NoTraffic: .* at 4000 units a day .* Raise max_data_days"):
        line.release(min_units=100_000)
    with pytest.raises(AirflowFailException, match="a difference of 1e-05 is shown with less than 50%"):
        line.release(expected_effect=0.00001)
    assert line.world.newest == before, "no rollout was created"


def test_another_challenger_of_the_same_task_is_planned_for_anew(line: Line) -> None:
    observed(line).world.metrics.challenger = 0.6
    assert line.release("r1").outcome == "rolled_back"
    line.register("challenger")
    for _ in range(3):
        line.world.metrics.pass_day()
    with pytest.raises(AirflowFailException, match="NoTraffic"):
        line.release("r1", min_units=100_000)


def test_a_plan_that_can_decide_says_when_and_goes_on(line: Line) -> None:
    assert observed(line).release(expected_effect=0.02).outcome == "promoted"


def test_the_evidence_is_kept_as_a_picture(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    record = line.release()
    assert record.picture is not None
    assert record.picture.format == "svg"
    drawn = line.world.store.get_bytes(record.picture).decode()
    assert "version 2 against 1" in drawn
    assert ">promoted<" in drawn


def test_a_promotion_stands_without_its_picture(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(store: Any, state: Any) -> Any:
        raise ArtifactNotFound("No such blob", "sha256:0", "")

    monkeypatch.setattr("airflow_ml.operators.canary_end.draw_evidence", lost)
    line.register("challenger", "champion")
    line.register("challenger")
    record = line.release()
    assert (record.outcome, record.picture, line.alias("champion")) == ("promoted", None, "2")


def test_a_worse_challenger_moves_no_alias_and_tells_nobody(line: Line) -> None:
    line.world.metrics.challenger = 0.6
    line.register("challenger", "champion")
    line.register("challenger")
    assert line.release().outcome == "rolled_back"
    assert (line.alias("champion"), line.alias("previous"), line.events.told) == ("1", None, [])


def test_clearing_any_finished_release_repeats_its_record_and_nothing_else(line: Line) -> None:
    line.register("challenger")
    assert line.release("r1") == line.release("r1")
    line.register("challenger")
    promoted = line.release("r2")
    writes = len(line.world.router.history)
    assert line.release("r2") == promoted
    assert len(line.world.router.history) == writes
    line.register("challenger")
    line.world.metrics.challenger = 0.6
    rolled_back = line.release("r3")
    assert line.release("r3") == rolled_back
    assert (line.alias("champion"), line.alias("previous")) == ("2", "1")


def test_a_crash_before_the_projection_is_made_good_by_a_retry(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred) as deferred:
        line.operator().execute(line.context("r1"))
    line.lead(deferred.value.trigger)
    assert line.alias("champion") == "1"
    assert line.release("r1").outcome == "promoted"
    assert line.alias("champion") == "2"


def test_a_promotion_is_projected_though_another_challenger_was_registered_meanwhile(line: Line) -> None:
    """The registry was away when version 2 was promoted, until all retries were used up; then version 3 came."""
    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred) as deferred:
        line.operator().execute(line.context("r1"))
    line.lead(deferred.value.trigger)
    line.register("challenger")
    record = line.release("r1")
    assert (record.outcome, record.challenger, line.alias("champion"), line.alias("previous")) == (
        "promoted",
        "2",
        "2",
        "1",
    )
    assert line.release("r2").challenger == "3"


def test_clearing_a_promotion_does_not_undo_a_human_who_moved_the_alias_back(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    line.release("r1")
    line.move("champion", "1")
    with pytest.raises(AirflowFailException, match=r"AliasConflict.*moved back"):
        line.release("r1")
    assert line.alias("champion") == "1"


def test_a_human_who_moves_the_alias_is_never_overwritten(line: Line) -> None:
    line.register("challenger", "champion")
    line.register()
    line.register("challenger")
    operator = line.operator()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(line.context("r1"))
    line.move("champion", "2")
    event = line.lead(deferred.value.trigger)
    with pytest.raises(AirflowFailException, match=r"AliasConflict.*moved from version 1 to 2"):
        operator.execute_complete(line.context("r1"), event)
    assert line.alias("champion") == "2"
    assert line.world.traffic.champion["version"] == "1"


def test_a_human_between_the_end_and_its_projection_is_never_overwritten(line: Line) -> None:
    line.register("challenger", "champion")
    line.register()
    line.register("challenger")
    operator = line.operator()
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(line.context("r1"))
    event = line.lead(deferred.value.trigger)
    line.move("champion", "2")
    with pytest.raises(AirflowFailException, match="AliasConflict"):
        operator.execute_complete(line.context("r1"), event)
    assert line.alias("champion") == "2"


@pytest.mark.parametrize(
    ("aliases", "changes", "message"),
    [
        ((), {}, "ModelNotFound: No version of 'flights' has the alias challenger"),
        (("challenger", "champion"), {}, "ModelNotFound: The alias challenger of 'flights' points to the champion"),
        (("challenger",), {"busy": "queue"}, "busy of canary cannot be"),
        (("challenger",), {"inconclusive": "promote"}, "inconclusive of canary cannot be"),
        (("challenger",), {"limits": {"failure_limit": -1}}, "failure_limit is not a number"),
        (("challenger",), {"steps": [50, 5]}, "Not the weights of a rollout"),
        (("challenger",), {"lease_seconds": 60, "poll_interval_seconds": 60.0}, "The lease is too"),
        (("challenger",), {"router_seconds": 179.0}, "The router would end the split before"),
    ],
)
def test_what_a_user_can_do_wrong_fails_at_once(
    line: Line, aliases: tuple[str, ...], changes: dict[str, Any], message: str
) -> None:
    line.register(*aliases)
    with pytest.raises((AirflowFailException, ConfigurationError), match=message):
        line.operator(**changes).execute(line.context("r1"))


def test_a_second_release_is_refused_while_the_first_is_under_way(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred):
        line.operator().execute(line.context("r1"))
    with pytest.raises(AirflowFailException, match=r"RolloutBusy.*release/r1/canary"):
        line.operator().execute(line.context("r2"))


def test_an_ab_test_concludes_and_moves_nothing(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    operator = ABTestOperator(model=MODEL, weight_percent=50, least_data_days=2, poll_interval_seconds=0.0)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(line.context("r1"))
    event = line.lead(deferred.value.trigger)
    record = Rollout.from_dict(operator.execute_complete(line.context("r1"), event))
    assert (record.outcome, record.weights) == ("concluded", (50.0,))
    assert record.data_days >= 2
    assert record.effect is not None
    assert record.effect < 0
    assert (line.alias("champion"), line.alias("previous"), line.events.told) == ("1", None, [])
    assert line.world.traffic.challenger is None
    assert Rollout.from_dict(operator.execute(line.context("r1"))) == record, "a clear does not repeat it"


def test_an_ab_test_has_no_steps() -> None:
    with pytest.raises(ValueError, match="steps"):
        ABTestOperator(model=MODEL, steps=[5, 100])


class Keeping(BaseNotifier):
    """Keeps what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[str] = []

    def notify(self, context: Any) -> None:
        self.told.append(context["rollout"]["reason"])


def test_notifiers_hear_of_a_rollback_and_not_of_a_promotion(line: Line) -> None:
    keeping = Keeping()
    line.register("challenger", "champion")
    line.register("challenger")
    line.release("r1", notifiers=[keeping])
    assert keeping.told == []
    line.register("challenger")
    line.world.metrics.challenger = 0.6
    line.release("r2", notifiers=[keeping])
    assert len(keeping.told) == 1
    assert "The challenger is worse" in keeping.told[0]


def test_what_a_human_promotes_gets_the_alias_and_says_who_did_it(line: Line) -> None:
    """Two equal versions: no evidence would ever come."""
    line.world.metrics.challenger = 0.2
    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred) as deferred:
        line.operator().execute(line.context("r1"))
    line.world.acts.promote(MODEL, "prod", who="ann", why="the old one has a bug")
    event = line.lead(deferred.value.trigger)
    record = Rollout.from_dict(line.operator().execute_complete(line.context("r1"), event))
    assert (record.outcome, line.alias("champion"), line.alias("previous")) == ("promoted", "2", "1")
    assert record.reason.startswith("Promoted by ann: the old one has a bug.")
    assert line.registry.get(MODEL, "2").tags["airflow_ml.rollout_promoted_by"] == "ann: the old one has a bug"
    assert line.release("r1") == record, "a clear does not begin anew"


def test_a_function_as_the_metric_source_is_led_in_the_worker(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        line.world.metrics.pass_day()

    monkeypatch.setattr(airflow_ml.operators.canary_leading.time, "sleep", sleep)
    asked: list[tuple[str, str, int]] = []

    def read(model: str, *, metric: str, epoch: int) -> Reading:
        asked.append((model, metric, epoch))
        return line.world.metrics.read(model, metric=metric, epoch=epoch)

    line.register("challenger", "champion")
    line.register("challenger")
    record = Rollout.from_dict(line.operator(source=read).execute(line.context("r1")))
    assert (record.outcome, line.alias("champion")) == ("promoted", "2")
    assert set(pauses) == {60.0}
    assert set(asked) == {(MODEL, "brier", record.epoch)}


def test_a_store_that_is_away_for_a_look_does_not_end_a_rollout_that_the_worker_leads(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(airflow_ml.operators.canary_leading.time, "sleep", lambda _: line.world.metrics.pass_day())
    look, calls = RolloutDriver.look, itertools.count(1)

    def fails_at_first(driver: RolloutDriver, state: Any) -> Any:
        if next(calls) in (1, 2, 4):
            raise StoreUnavailable("The store does not answer", "503", "Wait.")
        return look(driver, state)

    monkeypatch.setattr(RolloutDriver, "look", fails_at_first)
    line.register("challenger", "champion")
    line.register("challenger")
    record = Rollout.from_dict(line.operator(source=line.world.metrics.read).execute(line.context("r1")))
    assert record.outcome == "promoted"


def test_namespaces_release_one_model_at_once_and_apart(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.register("challenger", "champion")
    line.register("challenger", "challenger-bob")
    line.register("challenger-ada")
    for space, mean in {"ada": 0.1, "bob": 0.3}.items():
        line.elsewhere[space] = Metrics(line.world.router, mean, served=served_name(MODEL, space))
    begun: dict[str, tuple[CanaryOperator, Any]] = {}
    for space in ("prod", "ada", "bob"):
        monkeypatch.setattr(airflow_ml.hooks.store, "namespace", lambda space=space: space)
        operator = line.operator()
        with pytest.raises(TaskDeferred) as deferred:
            operator.execute(line.context(space))
        begun[space] = (operator, deferred.value.trigger)
    assert [line.world.router.read(name) is not None for name in ("flights", "flights@ada", "flights@bob")] == [
        True
    ] * 3
    ended = {}
    for space, (operator, trigger) in begun.items():
        monkeypatch.setattr(airflow_ml.hooks.store, "namespace", lambda space=space: space)
        record = operator.execute_complete(line.context(space), line.lead(trigger))
        ended[space] = (record["outcome"], record["champion"], record["challenger"])
    assert ended == {"prod": ("promoted", "1", "2"), "ada": ("promoted", "1", "3"), "bob": ("rolled_back", "1", "2")}
    aliases = {
        name: line.alias(name) for name in ("champion", "previous", "champion-ada", "previous-ada", "champion-bob")
    }
    assert aliases == {
        "champion": "2", "previous": "1", "champion-ada": "3", "previous-ada": "1", "champion-bob": "1"
    }  # fmt: skip
    served = {
        name: line.world.router.read(name).champion["version"] for name in ("flights", "flights@ada", "flights@bob")
    }
    assert served == {"flights": "2", "flights@ada": "3", "flights@bob": "1"}
    assert [uri for uri, _ in line.events.told] == ["mlflow://flights@champion", "mlflow://flights@champion-ada"]
    monkeypatch.setattr(airflow_ml.hooks.store, "namespace", lambda: "ada")
    back = RollbackOperator(model=MODEL, reason="It was a trial").execute(line.context("back"))
    assert (back["challenger"], line.alias("champion-ada"), line.alias("champion")) == ("1", "1", "2")


def test_a_busy_model_lets_a_release_be_skipped(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred):
        line.operator().execute(line.context("r1"))
    with pytest.raises(AirflowSkipException, match="release/r1/canary"):
        line.operator(busy="skip").execute(line.context("r2"))


def test_a_busy_model_lets_a_release_wait_for_its_turn(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(airflow_ml.triggers.rollout_turn, "artifact_store", lambda: line.world.store)
    line.world.now = datetime.now(UTC)
    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred) as first:
        line.operator().execute(line.context("r1"))
    second = line.operator(busy="wait")
    with pytest.raises(TaskDeferred) as waiting:
        second.execute(line.context("r2"))
    path, kwargs = waiting.value.trigger.serialize()
    assert (path, waiting.value.method_name) == ("airflow_ml.triggers.rollout_turn.RolloutTurnTrigger", "execute_turn")
    trigger = RolloutTurnTrigger(**json.loads(json.dumps(kwargs)))
    assert not trigger._free()
    line.lead(first.value.trigger)
    line.operator().execute_complete(line.context("r1"), {"model": MODEL, "namespace": "prod", "epoch": 1})

    async def fired() -> dict[str, Any]:
        async for event in trigger.run():
            return dict(event.payload)
        raise AssertionError("no event")

    event = asyncio.run(asyncio.wait_for(fired(), 10))
    line.register("challenger")
    with pytest.raises(TaskDeferred) as turn:
        second.execute_turn(line.context("r2"), event)
    assert turn.value.method_name == "execute_complete"


def parked(line: Line, monkeypatch: pytest.MonkeyPatch) -> tuple[CanaryOperator, dict[str, Any]]:
    """A release of two equal versions that asks, and what it asked."""
    asked: dict[str, Any] = {}
    monkeypatch.setattr(
        "airflow.providers.standard.operators.hitl.upsert_hitl_detail", lambda **facts: asked.update(facts)
    )
    line.world.metrics.challenger = 0.2
    line.register("challenger", "champion")
    line.register("challenger")
    operator = line.operator(inconclusive="ask", ask_timeout_seconds=3600.0)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(line.context("r1"))
    event = line.lead(deferred.value.trigger)
    assert event["outcome"] == "parked"
    with pytest.raises(TaskAwaitingInput) as waiting:
        operator.execute_complete(line.context("r1"), event)
    assert waiting.value.method_name == "execute_answer"
    assert waiting.value.timeout.total_seconds() == 3600
    assert (line.world.traffic.weight_percent, line.world.newest.lease_expires_at) == (0.0, None)
    return operator, asked


def answer(option: str, name: str | None) -> dict[str, Any]:
    user = {"id": "7", "name": name} if name else None
    return {"chosen_options": [option], "params_input": {}, "responded_by_user": user, "responded_at": None}


def test_an_undecided_release_asks_with_its_evidence_and_goes_on_when_approved(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, asked = parked(line, monkeypatch)
    assert asked["subject"] == "Shall the canary of flights go on at 50 %?"
    assert asked["options"] == ["Approve", "Reject"]
    assert "challenger minus champion" in asked["body"]
    monkeypatch.setattr(airflow_ml.operators.canary_run, "RolloutActs", lambda store, clock: line.world.acts)
    with pytest.raises(TaskDeferred) as again:
        operator.execute_answer(line.context("r1"), answer("Approve", "ann"))
    assert [(act.kind, act.who) for act in line.world.newest.acts] == [("approve", "ann")]
    line.world.metrics.challenger = 0.1
    event = line.lead(again.value.trigger)
    record = Rollout.from_dict(operator.execute_complete(line.context("r1"), event))
    assert (record.outcome, line.alias("champion")) == ("promoted", "2")


@pytest.mark.parametrize(("name", "who"), [("ann", "ann"), (None, "the approval's time limit")])
def test_a_rejection_or_no_answer_ends_an_undecided_release(
    line: Line, monkeypatch: pytest.MonkeyPatch, name: str | None, who: str
) -> None:
    operator, _ = parked(line, monkeypatch)
    record = Rollout.from_dict(operator.execute_answer(line.context("r1"), answer("Reject", name)))
    assert record.outcome == "inconclusive"
    assert record.reason.startswith(f"Not approved by {who}")
    assert line.alias("champion") == "1"
    assert Rollout.from_dict(operator.execute(line.context("r1"))) == record, "a clear does not repeat it"


def test_clearing_a_release_that_asks_asks_again(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    operator, asked = parked(line, monkeypatch)
    asked.clear()
    with pytest.raises(TaskAwaitingInput):
        operator.execute(line.context("r1"))
    assert asked["subject"]


def test_an_answer_to_a_release_that_was_stopped_meanwhile_changes_nothing(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    operator, _ = parked(line, monkeypatch)
    line.world.acts.stop(MODEL, "prod", who="bob", why="no more")
    record = Rollout.from_dict(operator.execute_answer(line.context("r1"), answer("Approve", "ann")))
    assert (record.outcome, record.reason) == ("rolled_back", "Stopped by bob: no more")


def test_the_trigger_of_an_earlier_attempt_stops(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    triggers = []
    for _ in range(2):
        with pytest.raises(TaskDeferred) as deferred:
            line.operator().execute(line.context("r1"))
        triggers.append(deferred.value.trigger)
    stale = line.lead(triggers[0])
    assert "not led by this attempt" in stale["error"]
    with pytest.raises(AirflowFailException, match="FencedOut"):
        line.operator().execute_complete(line.context("r1"), stale)
    assert "error" not in line.lead(triggers[1])


def test_a_lost_rollout_is_retried(line: Line) -> None:
    event = {"model": MODEL, "namespace": "prod", "epoch": 1, "error": "No good look for 600 s", "lost": True}
    with pytest.raises(RouterFailed, match="run it again"):
        line.operator().execute_complete(line.context("r1"), event)


@pytest.mark.parametrize(
    ("task_state", "live"),
    [("failed", False), ("success", False), ("deferred", True), ("scheduled", True), (None, True)],
)
def test_on_kill_rolls_back_only_if_the_user_ended_the_task(
    line: Line, monkeypatch: pytest.MonkeyPatch, task_state: str | None, live: bool
) -> None:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred) as deferred:
        line.operator().execute(line.context("r1"))
    trigger: Any = deferred.value.trigger
    monkeypatch.setattr(
        RuntimeTaskInstance, "get_task_states", staticmethod(lambda **names: {"r1": {"canary": task_state}})
    )
    trigger._task_instance = line.context("r1")["ti"]
    asyncio.run(trigger.on_kill())
    assert line.world.newest.live == live
    line.world.check()


def test_a_look_that_hangs_or_fails_does_not_end_the_trigger(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred) as deferred:
        line.operator().execute(line.context("r1"))
    trigger: Any = deferred.value.trigger
    trigger.look_seconds = 0.05
    looked, calls = CanaryTrigger.look_once, []

    def sometimes(self: CanaryTrigger) -> Any:
        calls.append(1)
        if len(calls) == 1:
            raise OSError("the store is away")
        if len(calls) == 2:
            time.sleep(0.3)
        return looked(self)

    monkeypatch.setattr(CanaryTrigger, "look_once", sometimes)
    path, kwargs = trigger.serialize()
    trigger.serialize = lambda: (path, {**kwargs, "look_seconds": 0.05, "poll_interval_seconds": 0.02})
    assert line.lead(trigger)["outcome"] == "promoted"


def rollback(line: Line, run: str) -> Rollout:
    return Rollout.from_dict(RollbackOperator(model=MODEL, reason="complaints").execute(line.context(run)))


def test_rollback_stops_a_rollout_under_way(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    with pytest.raises(TaskDeferred) as deferred:
        line.operator().execute(line.context("r1"))
    record = rollback(line, "b1")
    assert (record.outcome, record.reason) == ("rolled_back", "Stopped by release/b1/canary: complaints")
    assert line.lead(deferred.value.trigger)["outcome"] == "rolled_back"
    line.world.check()


def test_rollback_puts_the_previous_version_back_once(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    line.release()
    record = rollback(line, "b1")
    assert (record.outcome, record.challenger, record.champion, record.reason) == ("installed", "1", "2", "complaints")
    assert (line.alias("champion"), line.world.traffic.champion["version"]) == ("1", "1")
    assert rollback(line, "b1") == record
    assert line.alias("champion") == "1"
    with pytest.raises(AirflowFailException, match="no previous version"):
        rollback(line, "b2")


def test_a_shadow_concludes_without_any_risk(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    operator = ShadowOperator(model=MODEL, least_data_days=4, poll_interval_seconds=0.0)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(line.context("r1"))
    record = Rollout.from_dict(operator.execute_complete(line.context("r1"), line.lead(deferred.value.trigger)))
    assert (record.outcome, record.design, record.weights) == ("concluded", "paired_shadow", ())
    assert record.effect is not None
    assert record.effect < 0
    assert {traffic.weight_percent for traffic in line.world.router.history} == {0.0}
    assert (line.alias("champion"), line.events.told) == ("1", [])


def test_of_several_challengers_the_best_is_promoted(line: Line) -> None:
    line.register("challenger", "champion")
    for alias in ("challenger", "other", "third"):
        line.register(alias)
    line.world.metrics.means = {"2": 0.15, "3": 0.1, "4": 0.5}
    names = ["challenger", "other", "4"]
    operator = line.operator(challengers=names, steps=[(5, "1d"), (20, "2d"), 100])
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(line.context("r1"))
    record = Rollout.from_dict(operator.execute_complete(line.context("r1"), line.lead(deferred.value.trigger)))
    assert (record.outcome, record.challenger) == ("promoted", "3")
    assert [(one.version, one.worse, bool(one.stopped)) for one in record.arms] == [
        ("2", False, False),
        ("3", False, False),
        ("4", True, True),
    ]
    assert [one.effect for one in record.arms] == [pytest.approx(x, abs=1e-6) for x in (-0.05, -0.1, 0.3)]
    assert (line.alias("champion"), line.alias("previous")) == ("3", "1")


def test_an_ab_test_of_several_has_equal_shares_and_says_what_it_found_of_each(line: Line) -> None:
    line.register("challenger", "champion")
    line.register("challenger")
    line.register("other")
    line.world.metrics.means = {"2": 0.1, "3": 0.15}
    operator = ABTestOperator(
        model=MODEL, challengers=["challenger", "other"], least_data_days=2, poll_interval_seconds=0.0
    )
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute(line.context("r1"))
    record = Rollout.from_dict(operator.execute_complete(line.context("r1"), line.lead(deferred.value.trigger)))
    assert record.outcome == "concluded"
    assert record.weights == (pytest.approx(100 / 3),)
    assert [(one.version, one.shown) for one in record.arms] == [("2", True), ("3", True)]
    assert line.alias("champion") == "1"


@pytest.mark.parametrize("names", [[], ["challenger", "challenger"], ["challenger", "2"]])
def test_challengers_that_are_one_version_are_refused(line: Line, names: list[str]) -> None:
    line.register("champion")
    line.register("challenger")
    with pytest.raises((AirflowFailException, ConfigurationError), match="challengers"):
        line.operator(challengers=names, steps=[(5, "1d"), (20, "2d"), 100]).execute(line.context("r1"))


def test_the_mixture_is_planned_for_the_effect_and_requests_that_are_alike_are_refused(line: Line) -> None:
    line.register("challenger")
    line.release("r0")
    for _ in range(4):
        line.world.metrics.pass_day()
    line.register("challenger")
    operator = line.operator(expected_effect=0.01)
    with pytest.raises(TaskDeferred):
        operator.execute(line.context("r1"))
    assert 100 < line.world.newest.plan.tau_requests < 1000
    line.world.driver.roll_back(line.world.newest, "for the test")
    line.world.metrics.design_effect = 3.0
    for _ in range(4):
        line.world.metrics.pass_day()
    with pytest.raises(AirflowFailException, match=r"requests as independent.*3\.0\d above 1\.5.*paired_shadow"):
        line.operator(cluster="request").execute(line.context("r2"))
