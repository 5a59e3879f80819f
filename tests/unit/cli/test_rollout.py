"""What a human does with a rollout from the command line, over a real store and a real gateway's wire."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.cli import main
from airflow_ml.cli.rollout import _address
from airflow_ml.runtime.rollout_history import RolloutHistory
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.rollout_world import MODEL, SPACE, World
from airflow_ml.testing.served_models import identity_models, variant


@pytest.fixture(autouse=True)
def no_router(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW_ML_ROUTER_URL", "AIRFLOW_ML_ROUTER_TOKEN", "AIRFLOW_CONN_GATEWAY_DEFAULT"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A store with one rollout under way, one step in."""
    world = World()
    world.now = datetime.now(UTC)
    world.look(world.begin())
    store = FolderStore(tmp_path / "store")
    for number, state in enumerate(world.history()):
        store.append(f"rollouts/{SPACE}/{MODEL}", replace(state, router_name="gateway_default").to_dict(), after=number)
    return store


def run(store: FolderStore, *arguments: str) -> int:
    return main([*arguments, "--store", store.uri, "--namespace", SPACE, "--output", "json"])


def newest(store: FolderStore) -> Any:
    at = RolloutHistory(store).latest(MODEL, SPACE)
    assert at is not None
    return at.state


def test_hold_and_resume(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "hold", MODEL, "--why", "a fair", "--who", "ann") == 0
    assert json.loads(capsys.readouterr().out)[0]["state"] == "held"
    assert (newest(store).held, newest(store).acts[-1].who) == ("by ann: a fair", "ann")
    assert run(store, "resume", MODEL, "--why", "over") == 0
    assert newest(store).held == ""
    assert run(store, "resume", MODEL, "--why", "again") == 1
    assert "is not held" in capsys.readouterr().err


def test_promote_is_written_down_for_whoever_leads(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "promote", MODEL, "--why", "a bug in the old one", "--who", "ann") == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert (row["state"], row["reason"]) == ("to be promoted at the next look", "a bug in the old one")
    assert (newest(store).promote_arm, newest(store).state) == ("challenger", "running")
    assert run(store, "promote", MODEL, "--why", "x", "--arm", "challenger-2") == 1
    assert "Name one of challenger" in capsys.readouterr().err


def test_rollback_without_a_router_is_written_down_and_says_so(
    store: FolderStore, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(store, "rollback", MODEL, "--why", "complaints") == 0
    assert "Traffic moves at the next look of dag/run/canary" in capsys.readouterr().out
    assert newest(store).pending == "rolled_back"


@pytest.mark.parametrize("verb", ["hold", "resume", "promote", "rollback"])
def test_a_reason_is_needed_and_a_rollout_too(
    store: FolderStore, verb: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        run(store, verb, MODEL)
    assert run(store, verb, "nothing", "--why", "x") == 1
    assert "No such rollout of 'nothing'" in capsys.readouterr().err


def test_reconcile_leaves_the_living_alone(store: FolderStore, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(store, "reconcile") == 0
    assert json.loads(capsys.readouterr().out) == []


@pytest.mark.parametrize(
    ("given", "environment", "found"),
    [
        ("http://a:1/", {}, ("http://a:1", "")),
        ("http://a:1", {"AIRFLOW_ML_ROUTER_TOKEN": "t"}, ("http://a:1", "t")),
        ("", {}, None),
        ("", {"AIRFLOW_CONN_GW": '{"host": "h", "port": 9, "password": "p"}'}, ("http://h:9", "p")),
        ("", {"AIRFLOW_CONN_GW": '{"host": "https://h:9", "schema": "x"}'}, ("https://h:9", "")),
        ("", {"AIRFLOW_CONN_GW": "airflow-ml-gateway://:p%2F@h:9/https"}, ("https://h:9", "p/")),
        # The warehouse as the router: its password is for nobody else.
        ("", {"AIRFLOW_CONN_GW": "snowflake://user:secret@account/schema"}, None),
        ("", {"AIRFLOW_CONN_GW": '{"conn_type": "snowflake", "host": "h", "password": "secret"}'}, None),
    ],
)
def test_where_the_router_is(
    given: str, environment: dict[str, str], found: tuple[str, str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    state = replace(World().begin(), router_name="gw")
    assert _address(argparse.Namespace(router=given), state) == found


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[LocalGateway]:
    with LocalGateway(tmp_path / "gateway", FolderStore(tmp_path / "models").uri, token="a control token") as gateway:
        yield gateway


@pytest.mark.long  # a gateway and its models: 20 s
@pytest.mark.integration
def test_rollback_and_reconcile_at_a_real_gateway(
    gateway: LocalGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
    from airflow_ml.runtime.rollout import RolloutDriver

    models = FolderStore(tmp_path / "models")
    one, two = variant("1", identity_models(models), ["x"]), variant("2", identity_models(models, shift=0.1), ["x"])
    store, router = FolderStore(tmp_path / "records"), GatewayRouter(gateway.url, token=gateway.token)
    clock = datetime.now(UTC)
    for model in ("stopped", "lost"):
        driver = RolloutDriver(store, router, GatewayMetrics(gateway.url), clock=lambda: clock, lease_seconds=0.001)
        driver.install(World().plan, model, SPACE, one, "dag/first")
        driver = RolloutDriver(store, router, GatewayMetrics(gateway.url), clock=lambda: clock)
        driver.begin(World().plan, model, SPACE, one, two, "dag/second")
    monkeypatch.setenv("AIRFLOW_ML_ROUTER_TOKEN", gateway.token)
    assert run(store, "rollback", "stopped", "--why", "no", "--router", gateway.url) == 0
    ended = RolloutHistory(store).latest("stopped", SPACE)
    assert ended is not None
    assert ended.state.state == "rolled_back"
    # The owner of the other one is lost: its lease is in the past.
    acts = RolloutHistory(store)
    at = acts.latest("lost", SPACE)
    assert at is not None
    acts.append(at, replace(at.state, lease_expires_at=datetime(2026, 1, 1, tzinfo=UTC)))
    capsys.readouterr()
    assert run(store, "reconcile", "--router", gateway.url) == 0
    (done,) = json.loads(capsys.readouterr().out)
    assert (done["model"], done["action"]) == ("lost", "ended")
    for model in ("stopped", "lost"):
        seen = router.read(model)
        assert seen is not None
        assert seen.challenger is None
