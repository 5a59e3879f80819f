"""Every model registry keeps the contract: the twin in memory, and a real MLflow server."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[1] / "unit" / "runtime")]
from flaky_proxy import FlakyProxy
from sweep_parts import plan_of

from airflow_ml.adapters import mlflow_session
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.memory.registry import MemoryRegistry
from airflow_ml.adapters.mlflow import MLflowRegistry
from airflow_ml.adapters.mlflow_sweep import TrackedSweep
from airflow_ml.adapters.namespaced_registry import in_namespace
from airflow_ml.core.ports import ModelRegistry
from airflow_ml.errors import AliasConflict, RegistryError, RegistryUnavailable
from airflow_ml.operators.sweep_tracking import TrackSweepOperator
from airflow_ml.runtime.grouped_model import write_model_dir
from airflow_ml.runtime.leaderboard import collect
from airflow_ml.runtime.runner import run_shard
from airflow_ml.runtime.sweep_plan import shard_job
from airflow_ml.testing.contracts.model_registry import ModelRegistryContract
from airflow_ml.testing.feature_sets import flights, store_feature_set
from airflow_ml.testing.mlflow_server import MLflowServer
from airflow_ml.testing.served_models import store_models


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLflowServer]:
    with MLflowServer(tmp_path_factory.mktemp("mlflow")) as running:
        yield running


class TestMemory(ModelRegistryContract):
    @pytest.fixture
    def registry(self) -> ModelRegistry:
        return MemoryRegistry()


class TestNamespace(ModelRegistryContract):
    @pytest.fixture
    def registry(self) -> ModelRegistry:
        return in_namespace(MemoryRegistry(), "ada")

    def test_production_is_read_and_never_moved(self, registry: ModelRegistry, register: Any, name: str) -> None:
        shared: ModelRegistry = registry._registry  # type: ignore[attr-defined]
        one, two = register("1").version, register("2").version
        shared.set_alias(name, "champion", one, expected=None)
        assert registry.by_alias(name, "champion") == shared.get(name, one)
        with pytest.raises(AliasConflict):
            registry.set_alias(name, "champion", two, expected=two)
        registry.set_alias(name, "champion", two, expected=one)
        found = {alias: shared.by_alias(name, alias) for alias in ("champion", "champion-ada")}
        assert found == {"champion": shared.get(name, one), "champion-ada": shared.get(name, two)}
        with pytest.raises(AliasConflict):
            registry.set_alias(name, "champion", one, expected=one)
        assert in_namespace(shared, "prod") is shared


@pytest.mark.integration
class TestMLflow(ModelRegistryContract):
    @pytest.fixture
    def registry(self, server: MLflowServer) -> ModelRegistry:
        return MLflowRegistry(server.uri)

    def test_aliases_are_read_without_mlflows_client(
        self, registry: ModelRegistry, register: Any, name: str, server: MLflowServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As the pages of the Airflow UI read them."""
        from airflow_ml.hooks.mlflow import MLflowHook

        monkeypatch.setenv("AIRFLOW_CONN_MLFLOW_PAGES", json.dumps({"conn_type": "mlflow", "host": server.uri}))
        hook = MLflowHook("mlflow_pages")
        with pytest.raises(OSError, match="404"):
            hook.aliases(name, timeout_seconds=10)
        version = register("key-1").version
        assert hook.aliases(name, timeout_seconds=10) == {}
        registry.set_alias(name, "champion", version, expected=None)
        assert hook.aliases(name, timeout_seconds=10) == {"champion": version}

    def test_the_run_holds_files_params_and_metrics(self, server: MLflowServer, tmp_path: Path, name: str) -> None:
        from mlflow import MlflowClient

        (tmp_path / "m").mkdir()
        (tmp_path / "m" / "MLmodel").write_text("flavors: {}\n")
        board = tmp_path / "deadbeef"
        board.write_bytes(b"rows")
        made = MLflowRegistry(server.uri).register(
            name,
            key="k",
            model_dir=tmp_path / "m",
            params={"a": 1},
            metrics={"brier": 0.25, "broken": float("nan")},
            tags={"t": "u"},
            files={"reports/leaderboard.parquet": board},
            experiment=name,
        )
        client = MlflowClient(server.uri)
        run = client.get_run(made.run_id)
        assert run.info.status == "FINISHED"
        assert run.data.params == {"a": "1"}
        assert run.data.metrics == {"brier": 0.25}
        assert run.data.tags["airflow_ml.metrics_not_finite"] == "broken"
        assert [f.path for f in client.list_artifacts(made.run_id, "reports")] == ["reports/leaderboard.parquet"]
        assert [f.path for f in client.list_artifacts(made.run_id, "model")] == ["model/MLmodel"]

    def test_a_registered_model_answers_by_its_name(
        self, server: MLflowServer, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import mlflow.pyfunc
        import numpy as np
        from sklearn.linear_model import LinearRegression

        store = FolderStore(tmp_path / "store")
        frame = flights(60)
        fitted = LinearRegression().fit(frame[["stops"]].astype("float64"), frame["stops"] / 4)
        manifest = store_models(store, fitted, ["stops"], by="origin", members={"EWR": fitted})
        model_dir = write_model_dir(store, manifest, store_feature_set(store, frame), tmp_path / "model", frame.head(5))
        registry = MLflowRegistry(server.uri)
        made = registry.register(
            name, key="k", model_dir=model_dir, params={}, metrics={}, tags={}, files={}, experiment=name
        )
        registry.set_alias(name, "champion", made.version, expected=None)
        monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)  # as any user of the model does
        for uri in (f"models:/{name}/1", f"models:/{name}@champion"):
            loaded = mlflow.pyfunc.load_model(uri)
            rows = frame[["stops", "origin"]].astype({"stops": "float64"})
            np.testing.assert_allclose(loaded.predict(rows), frame["stops"] / 4, atol=1e-12)

    @pytest.mark.fault("M3")
    def test_a_run_whose_answer_was_lost_is_adopted(self, server: MLflowServer, tmp_path: Path, name: str) -> None:
        from mlflow import MlflowClient

        client = MlflowClient(server.uri)
        experiment = client.create_experiment(name)
        early = client.create_run(experiment, start_time=1_000, tags={"airflow_ml.key": "k"})
        late = client.create_run(experiment, start_time=2_000, tags={"airflow_ml.key": "k"})
        (tmp_path / "MLmodel").write_text("flavors: {}\n")
        made = MLflowRegistry(server.uri).register(
            name, key="k", model_dir=tmp_path, params={}, metrics={}, tags={}, files={}, experiment=name
        )
        assert made.run_id == early.info.run_id
        double = client.get_run(late.info.run_id)
        assert (double.data.tags["airflow_ml.double_of"], double.info.status) == (made.run_id, "FINISHED")
        assert len(client.search_runs([experiment])) == 2, "none is made beside them"

    def test_a_sweep_is_one_run_with_its_best_trials(self, server: MLflowServer, tmp_path: Path, name: str) -> None:
        from mlflow import MlflowClient

        board = tmp_path / "abc"
        board.write_bytes(b"rows")
        top = [
            {"trial": f"t{i}", "group": "EWR", "params": {"lr": 0.1 * i}, "value": 0.1 + i, "metrics": {"auc": 0.7}}
            for i in range(3)
        ]
        registry = MLflowRegistry(server.uri)
        sweep = TrackedSweep(
            key="sweep-1", experiment=name, files={"leaderboard.parquet": board}, tags={"metric": "brier"}, trials=top
        )
        ids = {registry.log_sweep(sweep) for _ in range(2)}
        assert len(ids) == 1
        client = MlflowClient(server.uri)
        runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
        parent = next(run for run in runs if run.info.run_id in ids)
        children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]
        assert len(runs) == 4
        assert len(children) == 3
        assert {run.data.metrics["value"] for run in children} == {0.1, 1.1, 2.1}
        assert {run.info.status for run in runs} == {"FINISHED"}
        assert [f.path for f in client.list_artifacts(parent.info.run_id)] == ["leaderboard.parquet"]


@pytest.mark.integration
@pytest.mark.fault("M1")
def test_mlflow_away_during_a_sweep_costs_no_trial_and_it_catches_up_without_doubles(
    server: MLflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is away while trials run and when the sweep is logged, then loses answers, then is well."""
    from airflow.sdk.exceptions import AirflowSkipException
    from mlflow import MlflowClient

    plan, store = plan_of(tmp_path, TRAIN, trials_per_group=12)
    with FlakyProxy(server.uri) as proxy:
        monkeypatch.setenv("AIRFLOW_CONN_TRACKING", json.dumps({"conn_type": "mlflow", "host": proxy.uri}))
        monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
        monkeypatch.setattr(mlflow_session, "_FIRST_PAUSE_SECONDS", 0.01)
        proxy.away = True
        outcome = run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None)
        assert (outcome.succeeded, outcome.failed) == (24, 0)
        board = collect(plan, store)
        operator = TrackSweepOperator(leaderboard=board.to_xcom(), mlflow_conn_id="tracking", tracked_trials="all")
        with pytest.raises(RegistryUnavailable):
            operator.run(_attempt(1, of=3))
        with pytest.raises(AirflowSkipException, match=r"not in MLflow: .*does not answer.* Clear this task"):
            operator.run(_attempt(4, of=3))
        assert proxy.refused >= 2
        proxy.away, proxy.lose_every = False, 5
        run_id = None
        for attempt in range(1, 30):  # as Airflow's retries do
            try:
                run_id = operator.run(_attempt(attempt, of=30))
                break
            except RegistryUnavailable:
                continue
        assert proxy.lost > 3
        proxy.lose_every = 0
        assert operator.run(_attempt(1, of=3)) == run_id
    client = MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name("a_dag").experiment_id])
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == run_id]
    assert len(runs) == len(children) + 1 == 25
    assert {run.data.tags["mlflow.runName"] for run in children} == {f"t{number:05d}" for number in range(24)}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert all(set(run.data.params) == {"n"} and run.data.metrics["value"] == 1.0 for run in children)
    assert [f.path for f in client.list_artifacts(run_id)] == ["leaderboard.parquet"]


def test_a_connection_that_is_missing_skips_the_tracking_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from airflow.sdk.exceptions import AirflowSkipException

    plan, store = plan_of(tmp_path, TRAIN)
    run_shard(shard_job(plan, 0, workers=2), store_uri=store.uri, log=lambda line: None)
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store.uri)
    operator = TrackSweepOperator(leaderboard=collect(plan, store).to_xcom(), mlflow_conn_id="nowhere")
    with pytest.raises(AirflowSkipException, match="nowhere"):
        operator.run(_attempt(1, of=30))


TRAIN = "def train(data, params, trial):\n    return 1.0\n"


def _attempt(number: int, *, of: int) -> Any:
    instance = SimpleNamespace(
        dag_id="a_dag", run_id="r", task_id="train.track", map_index=-1, try_number=number, max_tries=of
    )
    return {"ti": instance}


def test_a_server_that_is_down_is_named_without_credentials() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    registry = MLflowRegistry(f"http://alice:s3cret@127.0.0.1:{port}", deadline_seconds=2.0)
    with pytest.raises(RegistryUnavailable) as caught:
        registry.by_alias("flights", "champion")
    assert f"http://127.0.0.1:{port}" in str(caught.value)
    chain: BaseException | None = caught.value
    while chain is not None:
        assert "s3cret" not in str(chain)
        chain = chain.__cause__ or chain.__context__


@pytest.mark.fault("M2")
@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_only_fails_is_given_up_in_time(status: int) -> None:
    with _Failing(status) as failing:
        started = time.monotonic()
        with pytest.raises(RegistryUnavailable, match="does not answer"):
            MLflowRegistry(failing.uri, deadline_seconds=1.5).by_alias("flights", "champion")
        assert time.monotonic() - started < 20
        assert failing.requests >= 2


@pytest.mark.parametrize(("status", "remedy"), [(401, "login"), (403, "permission"), (404, "MLflow server")])
def test_a_refusal_is_not_retried_and_says_what_to_do(status: int, remedy: str) -> None:
    with _Failing(status) as failing:
        with pytest.raises(RegistryError, match=remedy) as caught:
            MLflowRegistry(failing.uri).by_alias("flights", "champion")
        assert not isinstance(caught.value, RegistryUnavailable)
        assert failing.requests == 1


def test_credentials_are_sent_and_not_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "of the environment")
    with _Failing(401) as failing:
        registry = MLflowRegistry(failing.uri, username="alice", password="s3cret")
        with pytest.raises(RegistryError) as caught:
            registry.by_alias("flights", "champion")
        assert failing.authorization == "Basic YWxpY2U6czNjcmV0"
        assert "s3cret" not in str(caught.value)
        with pytest.raises(RegistryError):
            MLflowRegistry(failing.uri, password="a-token").by_alias("flights", "champion")
        assert failing.authorization == "Bearer a-token"
    assert "MLFLOW_TRACKING_USERNAME" not in os.environ
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "of the environment"


class _Failing:
    """An HTTP server that answers every request with one status and asks to come back in an hour."""

    def __init__(self, status: int) -> None:
        owner = self
        self.requests = 0
        self.authorization = ""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.requests += 1
                owner.authorization = self.headers.get("Authorization", "")
                self.send_response(status)
                self.send_header("Retry-After", "3600")
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.uri = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> _Failing:
        self._thread.start()
        return self

    def __exit__(self, *args: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(timeout=5)


@pytest.mark.integration
def test_a_double_run_is_left_to_whoever_made_it(server: MLflowServer) -> None:
    """Two tasks with the same key: the later one must not delete the run that the other is still logging to."""
    from mlflow import MlflowClient

    from airflow_ml.adapters.mlflow_runs import ensure_experiment, ensure_run
    from airflow_ml.adapters.mlflow_session import Session

    client = MlflowClient(server.uri)
    with Session(server.uri).operation() as operation:
        experiment = ensure_experiment(operation, "doubles")
        other = ensure_run(operation, experiment, key="k", name="n")
        # Its clock is behind, so of the two it is the earlier one, although the other was there first.
        mine = client.create_run(experiment, start_time=other.info.start_time - 60_000, tags={"airflow_ml.key": "k"})
        assert ensure_run(operation, experiment, key="k", name="n").info.run_id == mine.info.run_id
    assert client.get_run(other.info.run_id).info.lifecycle_stage == "active"
    client.log_metric(other.info.run_id, "brier", 0.25)
