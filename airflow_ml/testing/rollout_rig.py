"""A deployment that leads canaries and can be broken anywhere: Airflow on PostgreSQL, a gateway, MLflow, a store.

Every model has a DAG ``canary_<model>``. Traffic and outcomes come day by day from a thread, and the challenger is so
much better that, left alone, each canary ends promoted; so whatever ends otherwise was ended by what a test did.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayRouter
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.record import JSON
from airflow_ml.core.rollout_state import RolloutState
from airflow_ml.errors import AirflowMLError
from airflow_ml.gateway.traffic_file import TrafficFiles
from airflow_ml.runtime.rollout_evidence import rollout_ref
from airflow_ml.testing.airflow_instance import AirflowInstance
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.mlflow_server import MLflowServer
from airflow_ml.testing.postgres_server import LocalPostgres
from airflow_ml.testing.rollout_invariants import Recorded, violations
from airflow_ml.testing.served_models import identity_models
from airflow_ml.testing.stalls import Stalls

#: One DAG a model. A name that begins with ``short`` has the shortest times that are allowed.
_DAGS = """
import json
import os
from datetime import timedelta

from airflow.sdk import dag

from airflow_ml import canary, reconcile_rollouts

SHORT = {"lease_seconds": 30.0, "router_seconds": 40.0}


def of(model):
    @dag(dag_id=f"canary_{model}", schedule=None)
    def release():
        canary(
            model,
            steps=[(50, "1d"), 100],
            min_units=50,
            max_data_days=2000,
            poll_interval_seconds=2.0,
            # An attempt that finds no API server is used up, so there are enough for its restart.
            retries=8,
            retry_delay=timedelta(seconds=5),
            **(SHORT if model.startswith("short") else {}),
        )

    release()


for model in json.loads(os.environ["RIG_MODELS"]):
    of(model)


@dag(schedule=timedelta(minutes=1), catchup=False, max_active_runs=1)
def reconcile():
    reconcile_rollouts()


reconcile()
"""
_VIEW = digest_json(["x"])
_UNITS = 150


class RolloutRig:
    """Starts everything; ``stop`` ends it. Also a context manager.

    Args:
        directory: Of all state; open to other users where root runs this, for PostgreSQL's sake.
        models: Names for the canaries to come; each is used once.
    """

    def __init__(self, directory: Path, models: Sequence[str]) -> None:
        self.models = tuple(models)
        self.store = FolderStore(directory / "store")
        self.postgres = LocalPostgres(directory / "postgres")
        self.mlflow = MLflowServer(directory / "mlflow")
        self.gateway = LocalGateway(directory / "gateway", self.store.uri, token=secrets.token_urlsafe(16))
        self.stalls = Stalls(directory / "stalls")
        self.lost_requests: list[str] = []
        self._directory = directory
        self._running = threading.Event()
        self._days: dict[str, datetime] = {}
        self._moves: dict[str, list[tuple[datetime, str]]] = {}
        self._feeder = threading.Thread(target=self._feed, name="traffic", daemon=True)

    def start(self) -> Self:
        """Start all parts and the traffic."""
        self.postgres.start()
        self.mlflow.start()
        self.gateway.start()
        dags = self._directory / "dags"
        dags.mkdir()
        (dags / "canaries.py").write_text(_DAGS)
        self.gateway.wait_ready()
        self.router = GatewayRouter(self.gateway.url, self.gateway.token)
        connections: dict[str, dict[str, Any]] = {
            "mlflow_default": {"conn_type": "mlflow", "host": "127.0.0.1", "port": self.mlflow.port},
            "gateway_default": {
                "conn_type": "airflow_ml_gateway",
                "host": "127.0.0.1",
                "port": self.gateway.port,
                "password": self.gateway.token,
            },
        }
        stalls = self.stalls.environment()
        path = os.pathsep.join(filter(None, [stalls["PYTHONPATH"], os.environ.get("PYTHONPATH", "")]))
        self.airflow = AirflowInstance(
            self._directory / "airflow",
            dags,
            connections=connections,
            parallelism=6,
            env={
                **stalls,
                "PYTHONPATH": path,
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": self.postgres.url,
                "AIRFLOW__ML__ARTIFACT_STORE": self.store.uri,
                # A worker that is gone is noticed in time for a test.
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "30",
                "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "5",
                "RIG_MODELS": json.dumps(self.models),
                "MLFLOW_DISABLE_TELEMETRY": "true",
            },
        )
        self.airflow.start(timeout_seconds=400)  # beside other work on a small machine
        self.mlflow.wait_ready(timeout_seconds=400)
        self._versions = [identity_models(self.store), identity_models(self.store, shift=0.2)]
        self._running.set()
        self._feeder.start()
        self.airflow.api.wait_for_dag("reconcile")
        self.airflow.api.unpause("reconcile")
        return self

    def stop(self) -> None:
        """End all parts; safe to call twice."""
        self._running.clear()
        if self._feeder.is_alive():
            self._feeder.join(60)
        if hasattr(self, "airflow"):
            self.stalls.release()
            self.airflow.stop()
        self.gateway.stop()
        self.mlflow.stop()
        self.postgres.stop()

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def begin(self, models: Iterable[str]) -> None:
        """Register a champion and a better challenger of each model, and start its canary."""
        for model in models:
            self._register(model)
            self._days[model] = datetime(2013, 5, 1, tzinfo=UTC)
            self.airflow.api.wait_for_dag(f"canary_{model}")
            self.airflow.api.unpause(f"canary_{model}")
            self.airflow.api.trigger(f"canary_{model}", run_id="run")

    def state(self, model: str) -> RolloutState | None:
        """Return the newest record."""
        entry = self.store.latest(rollout_ref(model, "prod"))
        return RolloutState.from_dict(entry.value) if entry else None

    def ended(self, model: str) -> str | None:
        """Return how a rollout ended, None while it lives or before it began."""
        state = self.state(model)
        return state.state if state is not None and not state.live else None

    def weight(self, model: str) -> float:
        """Return the share that the router gives the challenger now, its own expiry included."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port or 0, timeout=30)
        try:
            connection.request("GET", "/healthz")
            models = json.loads(connection.getresponse().read())["models"]
        finally:
            connection.close()
        return float(models[model]["weight_percent"]) if model in models else 0.0

    def task(self, model: str) -> str | None:
        """Return the state of a model's canary task."""
        for task in self.airflow.api.tasks(f"canary_{model}", "run"):
            if task.task_id == "canary":
                return task.state
        return None

    def set_task(self, model: str, state: str) -> None:
        """Mark a model's canary task ``failed`` or ``success``, as a user does."""
        path = f"/dags/canary_{model}/dagRuns/run/taskInstances/canary"
        self.airflow.api.request("PATCH", path, body={"new_state": state})

    def clear(self, model: str) -> None:
        """Clear a model's canary task, as a user does."""
        body = {"dag_run_id": "run", "task_ids": ["canary"], "dry_run": False, "only_failed": False}
        self.airflow.api.request("POST", f"/dags/canary_{model}/clearTaskInstances", body=body)

    def alias(self, model: str, name: str = "champion") -> str:
        """Return the version that has an alias; empty where none has."""
        query = urlencode({"name": model, "alias": name})
        answer = self._mlflow("GET", f"/api/2.0/mlflow/registered-models/alias?{query}")
        return str(answer.get("model_version", {}).get("version", ""))

    def recorded(self, model: str) -> Recorded:
        """Return all that is known of a model."""
        states = [RolloutState.from_dict(entry.value) for entry in self.store.history(rollout_ref(model, "prod"))]
        evidence = {}
        for state in states:
            if not state.live and state.evidence is not None:
                lines = self.store.get_bytes(state.evidence).splitlines()
                evidence[state.epoch] = [json.loads(line)["number"] for line in lines]
        return Recorded(
            states=states,
            changes=TrafficFiles(self.gateway.directory).changes(model),
            moves=self._moves.get(model, []),
            evidence=evidence,
        )

    def violations(self, models: Iterable[str]) -> list[str]:
        """Return what must not be, of these models and of the traffic."""
        found = [f"{model}: {one}" for model in models for one in violations(self.recorded(model))]
        return found + [f"A request was lost: {one}" for one in self.lost_requests]

    def _register(self, model: str) -> None:
        self._mlflow("POST", "/api/2.0/mlflow/registered-models/create", {"name": model})
        for number, (models, alias) in enumerate(zip(self._versions, ("champion", "challenger"), strict=True), 1):
            tags = {
                "airflow_ml.models": json.dumps(models.to_dict()),
                "airflow_ml.view_digest": _VIEW,
                "airflow_ml.view_definition": "{}",
                "airflow_ml.features": '["x"]',
                "airflow_ml.data": "{}",
            }
            body = {
                "name": model,
                "source": "s3://none/none",
                "tags": [{"key": key, "value": value} for key, value in tags.items()],
            }
            self._mlflow("POST", "/api/2.0/mlflow/model-versions/create", body)
            named = {"name": model, "alias": alias, "version": str(number)}
            self._mlflow("POST", "/api/2.0/mlflow/registered-models/alias", named)

    def _mlflow(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.mlflow.port, timeout=60)
        try:
            data = None if body is None else json.dumps(body)
            connection.request(method, path, data, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status != 200 and not (method == "GET" and answer.status in (400, 404)):
            raise RuntimeError(f"MLflow answered {answer.status} to {method} {path}: {text[:400]!r}")
        return dict(json.loads(text))

    def _feed(self) -> None:
        while self._running.is_set():
            for model in list(self._days):
                try:
                    self._pass_day(model)
                    version = self.alias(model)
                except (AirflowMLError, OSError, http.client.HTTPException) as error:
                    self.lost_requests.append(f"{model}: {type(error).__name__}: {error}")
                    continue
                moves = self._moves.setdefault(model, [])
                if version != (moves[-1][1] if moves else "1"):
                    moves.append((datetime.now(UTC), version))
            time.sleep(0.5)

    def _pass_day(self, model: str) -> None:
        """Send a day's requests and their outcomes, while the challenger takes part."""
        state = self.state(model)
        if state is None or not state.live or state.weight_percent == 0:
            return
        day = self._days[model]
        self._days[model] = day + timedelta(days=1)
        rows: list[dict[str, JSON]] = [
            {
                "key": f"{day:%Y%m%d}-{unit}",
                "unit": f"N{unit}",
                "at": day.isoformat(),
                "features": {_VIEW: {"x": 0.3 + unit / 1000}},
            }
            for unit in range(_UNITS)
        ]
        unscored = [answer for answer in self.router.predict(model, rows) if answer["score"] is None]
        self.lost_requests += [f"{model}: {answer}" for answer in unscored]
        known_at = self._days[model].isoformat()
        outcomes: list[dict[str, JSON]] = [{"key": row["key"], "label": 1.0, "known_at": known_at} for row in rows]
        self.router.send_outcomes(model, outcomes, watermark_at=known_at)


def wait_for(what: str, condition: Callable[[], Any], seconds: float) -> float:
    """Wait until a condition holds; return after how many seconds it did.

    Raises:
        AssertionError: it did not in time.
    """
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError, RuntimeError):  # what is asked may be what a test has just ended
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise AssertionError(f"Not within {seconds:g} s: {what}")
        time.sleep(0.25)
