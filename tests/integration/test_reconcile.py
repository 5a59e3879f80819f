"""A rollout whose owner was killed, ended by the operator through a real gateway and Airflow's own connections."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_ml import ReconcileRolloutsOperator
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayRouter
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import identity_models, variant

pytestmark = pytest.mark.integration

#: Leads two rollouts and then waits to be killed. The last look at one of them leaves a lease of 6 s.
OWNER = """
import json, sys, time
from airflow_ml.core.plan_check import parse_plan
from airflow_ml.hooks.rollout import rollout_driver

def driver(model, lease_seconds):
    return rollout_driver(model, router_conn_id="canary_gateway", mlflow_conn_id=None, lease_seconds=lease_seconds)

one, two = json.loads(sys.argv[1])
plan = parse_plan([20, 50, 100])
for model, lease_seconds in (("alive", 600.0), ("lost", 6.0)):
    driver(model, 600.0).install(plan, model, "prod", one, "first")
    begun = driver(model, 600.0).begin(plan, model, "prod", one, two, "second")
    state = driver(model, lease_seconds).look(begun)
    assert state.weight_percent == 20 and state.confirmed, state
print("split", flush=True)
time.sleep(600)
"""


def test_what_a_killed_owner_left_is_rolled_back_and_the_living_goes_on(
    one_gateway: LocalGateway, served_store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The rollouts are recorded in a store of their own: the operator looks at all that are there.
    store = FolderStore(tmp_path / "store")
    variants = [
        variant("1", identity_models(served_store), ["x"]),
        variant("2", identity_models(served_store, shift=0.125), ["x"]),
    ]
    connection = {"conn_type": "airflow_ml_gateway", "host": one_gateway.url, "password": one_gateway.token}
    monkeypatch.setenv("AIRFLOW_CONN_CANARY_GATEWAY", json.dumps(connection))
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, json.dumps(variants)], stdout=subprocess.PIPE, text=True, env=os.environ
    )
    try:
        assert owner.stdout is not None
        assert owner.stdout.readline().strip() == "split"
    finally:
        owner.send_signal(signal.SIGKILL)
        owner.wait()
    router = GatewayRouter(one_gateway.url, one_gateway.token)
    held = {name: router.read(name) for name in ("lost", "alive")}
    assert {name: traffic.weight_percent for name, traffic in held.items() if traffic} == {"lost": 20, "alive": 20}
    entry = store.latest("rollouts/prod/lost")
    assert entry is not None
    left = RolloutState.from_dict(entry.value)
    assert (left.state, left.router_name) == ("running", "canary_gateway")
    assert left.lease_expires_at is not None

    # The operator's own connection leads nowhere: each rollout is ended at the gateway that its record names.
    operator = ReconcileRolloutsOperator(task_id="t", router_conn_id="nowhere")
    context: Any = {"ti": SimpleNamespace(map_index=-1)}
    (done,) = operator.execute(context)  # which waits for the lease
    assert datetime.now(UTC) > left.lease_expires_at
    assert (done["model"], done["epoch"], done["action"]) == ("lost", left.epoch, "ended")
    after = {name: router.read(name) for name in ("lost", "alive")}
    assert {name: traffic.weight_percent for name, traffic in after.items() if traffic} == {"lost": 0, "alive": 20}
    assert operator.execute(context) == []
