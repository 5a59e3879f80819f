"""The gateway as a process, with real models, real crashes and a real disk."""

from __future__ import annotations

import http.client
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import FencedOut, MetricUnreadable, RouterFailed
from airflow_ml.gateway.split import assign
from airflow_ml.gateway.traffic_log import TrafficLog
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import identity_models, store_models, variant

pytestmark = pytest.mark.integration
SHIFT = 0.25
AT = "2013-05-01T10:00:00Z"


@pytest.fixture(scope="module")
def store(served_store: FolderStore) -> FolderStore:
    return served_store


@pytest.fixture(scope="module")
def gateway(one_gateway: LocalGateway) -> LocalGateway:
    return one_gateway


@pytest.fixture
def router(gateway: LocalGateway) -> GatewayRouter:
    return GatewayRouter(gateway.url, "tests-token")


@pytest.fixture(scope="module")
def variants(store: FolderStore) -> tuple[dict[str, JSON], dict[str, JSON]]:
    return variant("1", identity_models(store), ["x"]), variant("2", identity_models(store, "z", shift=SHIFT), ["z"])


@pytest.fixture
def traffic(variants: tuple[dict[str, JSON], dict[str, JSON]]) -> Traffic:
    return Traffic(
        model=f"m-{uuid.uuid4().hex[:8]}",
        epoch=1,
        champion=variants[0],
        challenger=variants[1],
        weight_percent=50.0,
        expires_at=None,
        salt="salt",
    )


def make_rows(traffic: Traffic, count: int, prefix: str = "k") -> list[dict[str, Any]]:
    """Rows that both views can be read from; the score of row n is n / 1000, plus the shift from the challenger."""
    features = {str((traffic.challenger or {})["view_digest"]): "z", str(traffic.champion["view_digest"]): "x"}
    return [
        {
            "key": f"{prefix}{number}",
            "unit": f"N{number}",
            "at": AT,
            "features": {digest: {name: number / 1000} for digest, name in features.items()},
        }
        for number in range(count)
    ]


def processes(gateway: LocalGateway, model: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port or 0, timeout=5)
    connection.request("GET", "/healthz")
    body: dict[str, Any] = json.loads(connection.getresponse().read())["models"][model]
    connection.close()
    return body


def raw(
    gateway: LocalGateway, method: str, path: str, body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port or 0, timeout=10)
    given = {"Content-Type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    connection.request(method, path, body, given)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text) if text.startswith(b"{") else {}


def test_each_unit_is_answered_by_the_variant_of_its_hash(router: GatewayRouter, traffic: Traffic) -> None:
    router.write(traffic)
    rows = make_rows(traffic, 200)
    answers = router.predict(traffic.model, rows)
    assert [answer["key"] for answer in answers] == [row["key"] for row in rows]
    assert {answer["variant"] for answer in answers} == {"champion", "challenger"}
    for number, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        expected = assign("salt", row["unit"], 50.0)
        assert (answer["variant"], answer["epoch"]) == (expected, 1)
        assert answer["version"] == {"champion": "1", "challenger": "2"}[expected]
        shift = SHIFT if expected == "challenger" else 0.0
        assert answer["score"] == pytest.approx(number / 1000 + shift)


def test_columns_are_answered_as_the_same_rows_are(router: GatewayRouter, traffic: Traffic) -> None:
    router.write(traffic)
    rows = make_rows(traffic, 60)
    names = {view: next(iter(values)) for view, values in rows[0]["features"].items()}
    features = {view: {name: [row["features"][view][name] for row in rows]} for view, name in names.items()}
    by_name = {name: [row[name] for row in rows] for name in ("key", "unit", "at")}

    def ask(**more: Any) -> Any:
        columns = {"keys": by_name["key"], "units": by_name["unit"], "at": by_name["at"], "features": features}
        return router.predict_columns(traffic.model, **{**columns, **more})

    answers, found = router.predict(traffic.model, rows), ask()
    assert (found["keys"], found["epoch"]) == (by_name["key"], 1)
    assert found["scores"] == [answer["score"] for answer in answers]
    assert found["variants"] == [answer["variant"] for answer in answers]
    assert [found["versions"][one] for one in found["variants"]] == [answer["version"] for answer in answers]
    assert found["errors"] == found["fallbacks"] == []
    assert set(ask(arm="challenger")["variants"]) == {"challenger"}
    # A value that no model takes is its own row's fault, wherever it stands; its neighbours are answered.
    for view, name in names.items():
        features[view][name] = [None if n in (7, 8) else value for n, value in enumerate(features[view][name])]
    partly = ask()
    assert [one["row"] for one in partly["errors"]] == [7, 8]
    assert [n for n, score in enumerate(partly["scores"]) if score is None] == [7, 8]
    with pytest.raises(RouterFailed, match="units is of another length than keys"):
        ask(units=["u"])
    with pytest.raises(RouterFailed, match=r"none of the rows.*takes features of view"):
        ask(features={"sha256:other": {"x": [1.0] * 60}})
    reading = GatewayMetrics(router.address, "tests-token").read(traffic.model, metric="brier", epoch=1)
    assert sum(sum(strata.values()) for strata in reading.assigned.values()) == len(set(by_name["unit"]))


def test_the_champion_answers_once_the_split_has_expired(router: GatewayRouter, traffic: Traffic) -> None:
    expires_at = datetime.now(UTC) + timedelta(seconds=20)
    router.write(replace(traffic, weight_percent=100.0, expires_at=expires_at))
    router.write(replace(traffic, weight_percent=100.0, expires_at=datetime.now(UTC) + timedelta(seconds=1.5)))
    rows = make_rows(traffic, 5)
    assert {answer["variant"] for answer in router.predict(traffic.model, rows)} == {"challenger"}
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if {answer["variant"] for answer in router.predict(traffic.model, rows)} == {"champion"}:
            break
        time.sleep(0.05)
    held = router.read(traffic.model)
    assert held is not None
    assert held.expires_at is not None
    now = datetime.now(UTC)
    assert held.expires_at <= now < held.expires_at + timedelta(seconds=2)


def test_a_row_without_the_challengers_view_is_the_champions(router: GatewayRouter, traffic: Traffic) -> None:
    router.write(replace(traffic, weight_percent=100.0))
    (row, *_) = make_rows(traffic, 1)
    del row["features"][str((traffic.challenger or {})["view_digest"])]
    (answer,) = router.predict(traffic.model, [row])
    assert answer["variant"] == "champion"
    assert str((traffic.challenger or {})["view_digest"]) in answer["fallback"]


def test_an_arm_is_tried_out_at_weight_0_and_that_is_no_evidence(
    gateway: LocalGateway, router: GatewayRouter, traffic: Traffic
) -> None:
    router.write(replace(traffic, weight_percent=0.0))
    rows = make_rows(traffic, 3)
    tried = router.predict(traffic.model, rows, arm="challenger")
    assert [(one["variant"], one["version"], one["score"]) for one in tried] == [
        ("challenger", "2", pytest.approx(number / 1000 + SHIFT)) for number in range(3)
    ]
    rows[1]["features"] = {"sha256:other": {"x": 1.0}}
    assert "error" in router.predict(traffic.model, rows, arm="challenger")[1], "no champion stands in for it"
    with pytest.raises(RouterFailed, match="no such arm"):
        router.predict(traffic.model, rows, arm="challenger-2")
    status, _ = raw(gateway, "POST", f"/v1/models/{traffic.model}/predict?arm=challenger", b'{"rows": []}')
    assert status == 401, "nobody chooses who answers without the control token"
    assert dict(GatewayMetrics(gateway.url, "tests-token").read(traffic.model, metric="brier", epoch=1).assigned) == {}
    router.predict(traffic.model, make_rows(traffic, 1))
    found = GatewayMetrics(gateway.url, "tests-token").read(traffic.model, metric="brier", epoch=1).assigned
    assert {arm: sum(strata.values()) for arm, strata in found.items()} == {"champion": 1}


def test_a_row_of_another_view_is_refused_and_its_neighbours_are_not(router: GatewayRouter, traffic: Traffic) -> None:
    router.write(traffic)
    good, bad, lacking = make_rows(traffic, 3)
    bad["features"] = {"sha256:other": {"x": 1.0}}
    lacking["features"] = {digest: {} for digest in lacking["features"]}
    first, second, third = router.predict(traffic.model, [good, bad, lacking])
    assert first["score"] is not None
    assert second["score"] is None
    assert "sha256:other" in second["error"]
    assert str(traffic.champion["view_digest"]) in second["error"]
    assert third["score"] is None
    assert "lacks the features x" in third["error"]
    with pytest.raises(RouterFailed, match="sha256:other"):
        router.predict(traffic.model, [bad])


def test_a_row_that_the_model_fails_on_leaves_its_neighbours_alone(router: GatewayRouter, traffic: Traffic) -> None:
    router.write(replace(traffic, weight_percent=0.0))
    rows = make_rows(traffic, 40)
    for values in rows[17]["features"].values():
        values.update(dict.fromkeys(values, "no number"))
    answers = router.predict(traffic.model, rows)
    assert [answer["key"] for answer in answers if answer["score"] is None] == ["k17"]
    assert answers[18]["score"] == pytest.approx(0.018)


def test_a_killed_challenger_loses_no_request(gateway: LocalGateway, router: GatewayRouter, traffic: Traffic) -> None:
    router.write(replace(traffic, weight_percent=100.0))
    before = processes(gateway, traffic.model)["challenger"]
    os.kill(before["pid"], signal.SIGKILL)
    rows = make_rows(traffic, 20)
    answers = router.predict(traffic.model, rows)
    assert all(answer["score"] is not None for answer in answers)
    deadline = time.monotonic() + 60
    while router.predict(traffic.model, rows)[0]["variant"] != "challenger":
        assert time.monotonic() < deadline, "the challenger's process was not started again"
        time.sleep(0.1)
    after = processes(gateway, traffic.model)["challenger"]
    assert after["pid"] != before["pid"]
    assert after["losses"] == before["losses"] + 1


def test_a_challenger_that_hangs_in_shadow_is_felt_by_nobody(
    gateway: LocalGateway, router: GatewayRouter, traffic: Traffic
) -> None:
    router.write(replace(traffic, weight_percent=0.0, shadow=True))
    frozen = processes(gateway, traffic.model)["challenger"]["pid"]
    os.kill(frozen, signal.SIGSTOP)
    try:
        for number in range(10):
            answers = router.predict(traffic.model, make_rows(traffic, 20, f"{number}-"))
            assert {answer["variant"] for answer in answers} == {"champion"}
            assert all(answer["score"] is not None for answer in answers)
        os.kill(frozen, 0)  # it was not even waited for long enough to be taken for hung
    finally:
        with suppress(ProcessLookupError):
            os.kill(frozen, signal.SIGCONT)


def test_a_killed_champion_loses_no_request(gateway: LocalGateway, router: GatewayRouter, traffic: Traffic) -> None:
    router.write(traffic)
    results: list[dict[str, Any]] = []
    failures: list[Exception] = []
    stop = threading.Event()

    def send(number: int) -> None:
        client = GatewayRouter(gateway.url, "tests-token", timeout_seconds=60)
        count = 0
        while not stop.is_set():
            try:
                results.extend(client.predict(traffic.model, make_rows(traffic, 3, f"{number}-{count}-")))
            except Exception as error:  # noqa: BLE001, RUF100 - counted below
                failures.append(error)
            count += 1

    threads = [threading.Thread(target=send, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    os.kill(processes(gateway, traffic.model)["champion"]["pid"], signal.SIGKILL)
    time.sleep(1.0)
    stop.set()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert results
    assert all(result["score"] is not None for result in results)


def test_the_weight_moves_under_load_without_a_lost_request(
    gateway: LocalGateway, router: GatewayRouter, traffic: Traffic
) -> None:
    router.write(replace(traffic, weight_percent=0.0))
    answers: list[dict[str, Any]] = []
    stop = threading.Event()

    def send() -> None:
        client = GatewayRouter(gateway.url)
        while not stop.is_set():
            answers.extend(client.predict(traffic.model, make_rows(traffic, 20)))

    thread = threading.Thread(target=send)
    thread.start()
    try:
        for weight in (5.0, 50.0, 100.0):
            router.write(replace(traffic, weight_percent=weight))
            fresh = router.predict(traffic.model, make_rows(traffic, 50))
            assert [answer["variant"] for answer in fresh] == [assign("salt", f"N{n}", weight) for n in range(50)]
    finally:
        stop.set()
        thread.join(30)
    assert answers
    assert all(answer["score"] is not None for answer in answers)


def test_traffic_and_log_outlive_a_crash_of_the_gateway(tmp_path: Path, store: FolderStore, traffic: Traffic) -> None:
    # Two versions of one model: starting a process for each of two takes most of the time, and there and back.
    traffic = replace(traffic, epoch=7, challenger={**traffic.champion, "version": "2"})
    with LocalGateway(tmp_path, store.uri) as gateway:
        router = GatewayRouter(gateway.url)
        router.write(traffic)
        router.predict(traffic.model, make_rows(traffic, 50))
        state = processes(gateway, traffic.model)
        children = [state["champion"]["pid"], state["challenger"]["pid"]]
        gateway.kill()
        _assert_gone(children)
        gateway.start()
        gateway.wait_ready()
        assert router.read(traffic.model) == traffic
        with pytest.raises(FencedOut, match="7"):
            router.write(replace(traffic, epoch=6))
        answers = router.predict(traffic.model, make_rows(traffic, 50))
        assert all(answer["epoch"] == 7 for answer in answers)
        assigned = GatewayMetrics(gateway.url).read(traffic.model, metric="brier", epoch=7).assigned
        assert sum(units for strata in assigned.values() for units in strata.values()) == 50
        state = processes(gateway, traffic.model)
        children, pid = [state["champion"]["pid"], state["challenger"]["pid"]], gateway.pid
        began = time.monotonic()
        gateway.stop()
        assert time.monotonic() - began < 5
        assert pid is not None
        _assert_gone([child for child in [*children, pid] if child is not None])


def test_what_was_answered_before_a_crash_under_load_is_in_the_log(
    tmp_path: Path, store: FolderStore, traffic: Traffic
) -> None:
    traffic = replace(traffic, challenger={**traffic.champion, "version": "2"})
    answered: list[str] = []

    def send(number: int, url: str) -> None:
        client = GatewayRouter(url)
        with suppress(RouterFailed):
            for count in range(100_000):
                answers = client.predict(traffic.model, make_rows(traffic, 5, f"{number}-{count}-"))
                answered.extend(answer["key"] for answer in answers)

    with LocalGateway(tmp_path, store.uri) as gateway:
        GatewayRouter(gateway.url).write(traffic)
        threads = [threading.Thread(target=send, args=(number, gateway.url)) for number in range(4)]
        for thread in threads:
            thread.start()
        time.sleep(1.5)
        gateway.kill()
        for thread in threads:
            thread.join(60)
    log = TrafficLog(tmp_path)
    log.settle()
    log.close()
    with closing(sqlite3.connect(tmp_path / "traffic.sqlite")) as connection:
        logged = {key for (key,) in connection.execute("SELECT key FROM prediction")}
    assert answered
    assert set(answered) <= logged


def test_a_model_that_is_not_served_any_more_is_unloaded(
    gateway: LocalGateway, router: GatewayRouter, traffic: Traffic, store: FolderStore
) -> None:
    third = variant("3", identity_models(store, shift=0.75), ["x"])
    router.write(replace(traffic, challenger=third))
    pid = processes(gateway, traffic.model)["challenger"]["pid"]
    router.write(replace(traffic, challenger=None, weight_percent=0.0))
    _assert_gone([pid])
    assert processes(gateway, traffic.model)["challenger"] is None


def test_a_group_goes_to_its_member(router: GatewayRouter, store: FolderStore, traffic: Traffic) -> None:
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    frame = pd.DataFrame({"x": [0.0, 1.0]})
    pooled, member = LinearRegression().fit(frame, [0.0, 1.0]), LinearRegression().fit(frame, [5.0, 5.0])
    grouped = variant("1", store_models(store, pooled, ["x"], by="origin", members={"EWR": member}), ["x"])
    router.write(replace(traffic, champion=grouped, challenger=None, weight_percent=0.0))
    view = str(grouped["view_digest"])
    rows: list[dict[str, JSON]] = [
        {"key": str(n), "unit": "u", "at": AT, "features": {view: {"x": 0.5, "origin": origin}}}
        for n, origin in enumerate(["EWR", "JFK", None])
    ]
    assert [answer["score"] for answer in router.predict(traffic.model, rows)] == pytest.approx([5.0, 0.5, 0.5])


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic tests-token"}])
def test_traffic_is_written_with_the_token_only(
    gateway: LocalGateway, router: GatewayRouter, traffic: Traffic, header: dict[str, str]
) -> None:
    status, _ = raw(gateway, "PUT", f"/v1/models/{traffic.model}/traffic", b"{}", **header)
    assert status == 401
    with pytest.raises(RouterFailed, match="password"):
        GatewayRouter(gateway.url, "wrong").write(traffic)
    assert router.read(traffic.model) is None


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("POST", "/v1/models/m/predict", b"{", {}, 422),
        ("POST", "/v1/models/m/predict", b"[" * 100_000, {}, 422),
        ("POST", "/v1/models/m/predict", b'{"rows": [{"key": NaN}]}', {}, 422),
        ("POST", "/v1/models/m/predict", b'{"rows": [{"key": "\\ud800"}]}', {}, 422),
        ("POST", "/v1/models/m/predict", b'{"rows": 1' + b"0" * 5000 + b"}", {}, 422),
        ("POST", "/v1/models/m/predict", b"\xff\xfe", {}, 422),
        ("POST", "/v1/models/m/predict", b'{"rows": []}', {}, 404),
        ("POST", "/v1/models/..%2f..%2fetc/predict", b'{"rows": []}', {}, 404),
        ("POST", "/v1/models/a%20b/predict", b'{"rows": []}', {}, 422),
        ("POST", "/v1/models/m/outcomes", b'{"rows": []}', {}, 422),
        ("POST", "/v1/models/m/predict", b'{"rows": []}', {"Content_Type": "text/plain"}, 415),
        ("PUT", "/v1/models/m/traffic", b" " * 70_000, {"Authorization": "Bearer tests-token"}, 413),
        ("PUT", "/v1/models/m/traffic", b'{"model": "other"}', {"Authorization": "Bearer tests-token"}, 422),
        ("GET", "/v1/models/m/metrics?metric=brier&epoch=1", None, {}, 404),
        ("GET", "/v1/models/m/metrics?metric=brier&epoch=-1", None, {}, 422),
        ("GET", "/v1/models/m/metrics", None, {}, 422),
        ("GET", "/healthz", None, {"Host": "evil.example"}, 400),
        ("DELETE", "/healthz", None, {}, 405),
        ("GET", "/docs", None, {}, 404),
    ],
)
def test_junk_is_refused(
    gateway: LocalGateway, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int
) -> None:
    found, answer = raw(gateway, method, path, body, **headers)
    assert found == status, answer
    assert "Traceback" not in str(answer)


def test_a_second_gateway_on_the_same_directory_is_refused(gateway: LocalGateway) -> None:
    done = _start("--directory", str(gateway.directory), "--store", gateway.store_uri, "--port", "0")
    assert done.returncode == 1
    assert "Another gateway serves this directory" in done.stderr


def test_beyond_loopback_a_token_is_needed(tmp_path: Path) -> None:
    done = _start("--directory", str(tmp_path), "--store", str(tmp_path), "--port", "0", "--host", "0.0.0.0")
    assert done.returncode == 1
    assert "AIRFLOW_ML_GATEWAY_TOKEN" in done.stderr


def test_nobody_there() -> None:
    router = GatewayRouter("http://127.0.0.1:9", timeout_seconds=2)
    with pytest.raises(RouterFailed, match="connection names its address"):
        router.read("m")
    with pytest.raises(RouterFailed, match="does not answer"):
        router.ping()
    with pytest.raises(MetricUnreadable, match="does not answer"):
        GatewayMetrics("http://127.0.0.1:9", timeout_seconds=2).read("m", metric="brier", epoch=1)


def test_ping_says_what_is_served(gateway: LocalGateway, router: GatewayRouter, traffic: Traffic) -> None:
    router.write(replace(traffic, challenger=None))
    assert traffic.model in router.ping()


def _start(*arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")}
    return subprocess.run(
        [sys.executable, "-m", "airflow_ml.gateway", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=environment,
        check=False,
    )


def _assert_gone(pids: list[int]) -> None:
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{pid}").exists() and _state(pid) != "Z" for pid in pids):
        assert time.monotonic() < deadline, f"still there: {pids}"
        time.sleep(0.05)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
