"""The local gateway, champion and challenger loaded, beside ``mlflow models serve`` of the same model, as JSON.

    python benchmarks/gateway.py [--seconds 5] [--connections 8] [--rounds 3] [--workers 1 2]

``serving`` has, for a linear model and for gradient boosted trees (80 rounds), 12 features each, requests a second and
latencies with one row and with 100 rows a request. The gateway divides its traffic evenly between two fitted versions,
so it does the work of two models, and it writes every answer to its log. ``gateway`` is asked in rows, and with 100
rows also in columns (``gateway_columns``), the form for many rows. MLflow serves the first version with
``predict_proba`` in its most compact format (``dataframe_split``: names once, then values), with each number of
``--workers``; so both have a form without names in each row, and only the gateway's rows have a key, a unit and a time.
Both get the same client: kept connections, one process, the next request when the last is answered
(``benchmarks/http_load.py``). All take turns, ``--rounds`` times; the median counts.

What the gateway answered is in its journal when the answer is given, and settles in an indexed table later. Before the
next turn all of it settles; ``settling_us_per_row`` is what that cost of CPU, and
``requests_per_second_with_settling`` counts it as if nothing could be answered meanwhile.

``weight_change`` flips the weight between 0 and 100 under load. It has how long a write takes, and how many requests
that were sent after a write had returned were answered by the old variant. ``killed_process`` kills the challenger's,
then the champion's process under load. In both every request must be answered with a score.

Figures are of this machine, with client and servers sharing its cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayRouter
from airflow_ml.core.ports import Traffic
from airflow_ml.testing.child_process import free_ports
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import store_models, variant

FEATURES = [f"f{number}" for number in range(12)]
ROWS = (1, 100)
CLIENT = Path(__file__).with_name("http_load.py")


def fitted(kind: str, seed: int) -> Any:
    """Return a fitted model of 12 features."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(draw.normal(size=(5000, len(FEATURES))), columns=FEATURES)
    late = frame["f0"] + draw.normal(size=len(frame)) > 0
    if kind == "linear":
        return make_pipeline(StandardScaler(), LogisticRegression()).fit(frame, late)
    return HistGradientBoostingClassifier(max_iter=80, random_state=seed).fit(frame, late)


def load(spec: dict[str, Any]) -> dict[str, Any]:
    """Run the client in a process of its own and return what it found."""
    done = subprocess.run(
        [sys.executable, str(CLIENT)], input=json.dumps(spec), capture_output=True, text=True, check=True
    )
    figures: dict[str, Any] = json.loads(done.stdout)
    return figures


def gateway_spec(port: int, model: str, view: str, rows: int) -> dict[str, Any]:
    """Return a load whose requests have keys and units that no other has."""
    features = json.dumps({view: {name: round(0.1 * number, 1) for number, name in enumerate(FEATURES)}})
    parts = ['{"rows":[{"key":"k']
    for number in range(rows):
        parts[-1] += f"{number}-" if number == 0 else f'}},{{"key":"k{number}-'
        parts.append('","unit":"' + f"u{number}-")
        parts.append(f'","at":"2013-05-01T10:00:00Z","features":{features}')
    parts[-1] += "}]}"
    return {"host": "127.0.0.1", "port": port, "path": f"/v1/models/{model}/predict", "parts": parts}


def columns_spec(port: int, model: str, view: str, rows: int) -> dict[str, Any]:
    """Return the load of ``gateway_spec`` in columns."""
    features = {view: {name: [round(0.1 * number, 1)] * rows for number, name in enumerate(FEATURES)}}
    # Between two parts comes the request's number: once in each key, and once in each unit.
    parts = ['{"keys":["k0-', *(f'","k{number}-' for number in range(1, rows)), '"],"units":["u0-']
    parts += [*(f'","u{number}-' for number in range(1, rows)), '"],"at":']
    parts[-1] += f'{json.dumps(["2013-05-01T10:00:00Z"] * rows)},"features":{json.dumps(features)}}}'
    return {"host": "127.0.0.1", "port": port, "path": f"/v1/models/{model}/predict", "parts": parts}


def mlflow_spec(port: int, rows: int) -> dict[str, Any]:
    """Return the load of the same rows in MLflow's format."""
    row = [round(0.1 * number, 1) for number in range(len(FEATURES))]
    body = json.dumps({"dataframe_split": {"columns": FEATURES, "data": [row] * rows}})
    return {"host": "127.0.0.1", "port": port, "path": "/invocations", "parts": [body]}


@contextmanager
def mlflow_serve(model: Path, workers: int, log: Path) -> Iterator[int]:
    """Run ``mlflow models serve`` and yield its port once it answers."""
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "mlflow", "models", "serve", "-m", str(model), "--env-manager", "local"]
    command += ["-h", "127.0.0.1", "-p", str(port), "--workers", str(workers)]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "OMP_NUM_THREADS": "1"}
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), environment.get("PATH", "")])
    with log.open("ab") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, env=environment, start_new_session=True)
    try:
        deadline = time.monotonic() + 180
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"mlflow models serve did not come up, see {log}")
            time.sleep(0.5)
        time.sleep(3)  # the other workers
        yield port
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def compared(gateway: LocalGateway, store: FolderStore, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Return the figures of each kind of model, and put both under traffic."""
    found: dict[str, Any] = {}
    for kind in ("linear", "trees"):
        models = [fitted(kind, seed) for seed in (1, 2)]
        variants = [variant(str(n), store_models(store, model, FEATURES), FEATURES) for n, model in enumerate(models)]
        GatewayRouter(gateway.url).write(traffic_of(kind, variants))
        peers = {f"mlflow_workers_{workers}": _mlflow_model(models[0], folder / kind) for workers in options.workers}
        view, port = str(variants[0]["view_digest"]), gateway.port or 0
        runs: dict[str, dict[int, list[dict[str, Any]]]] = {}
        for workers, (peer, path) in zip(options.workers, peers.items(), strict=True):
            with mlflow_serve(path, workers, folder / "mlflow.log") as peer_port:
                for rows in ROWS:
                    ways = {"gateway": gateway_spec(port, kind, view, rows), peer: mlflow_spec(peer_port, rows)}
                    if rows > 1:
                        ways["gateway_columns"] = columns_spec(port, kind, view, rows)
                    for round_ in range(options.rounds + 1):
                        for way, spec in ways.items():
                            seconds = options.seconds if round_ else 1.0  # the first is to warm up
                            figures = _turn(gateway, way, {**spec, "seconds": seconds}, rows, options)
                            if round_:
                                runs.setdefault(way, {}).setdefault(rows, []).append(figures)
        found[kind] = {
            way: {f"rows_{rows}": _median(figures) for rows, figures in by_rows.items()}
            for way, by_rows in runs.items()
        }
        found[kind] |= _over_best_peer(found[kind], list(peers))
    return found


def _turn(
    gateway: LocalGateway, way: str, spec: dict[str, Any], rows: int, options: argparse.Namespace
) -> dict[str, Any]:
    """Return the figures of one load, and of the gateway's what it had to do afterwards."""
    figures = load({**spec, "prefix": f"{time.monotonic_ns():x}-", "connections": options.connections})
    if figures["lost"] or set(figures["statuses"]) != {"200"}:
        raise RuntimeError(f"{way}, {rows} rows: {figures}")
    if way.startswith("gateway"):
        settling, requests = _settle(gateway), figures["requests"]
        figures["requests_per_second_with_settling"] = requests / (requests / figures["requests_per_second"] + settling)
        figures["settling_us_per_row"] = settling * 1e6 / requests / rows
    return figures


def _over_best_peer(found: dict[str, Any], peers: list[str]) -> dict[str, float]:
    """Return the gateway's throughput in parts of its best peer's."""
    ratios = {}
    for way in sorted(set(found) - set(peers)):
        for rows, ours in found[way].items():
            best = max(found[peer][rows]["requests_per_second"] for peer in peers)
            for name in ("requests_per_second", "requests_per_second_with_settling"):
                ratios[f"{way}_{rows}_{name}_over_best_peer"] = round(ours[name] / best, 2)
    return ratios


def traffic_of(model: str, variants: list[Any], weight_percent: float = 50.0) -> Traffic:
    """Return a division between two versions."""
    return Traffic(
        model=model,
        epoch=1,
        champion=variants[0],
        challenger=variants[1],
        weight_percent=weight_percent,
        expires_at=None,
        salt="benchmark",
    )


def _mlflow_model(model: Any, path: Path) -> Path:
    import mlflow.sklearn

    if not path.exists():
        mlflow.sklearn.save_model(
            model,
            path,
            pyfunc_predict_fn="predict_proba",
            pip_requirements=["scikit-learn"],
            serialization_format="cloudpickle",
        )
    return path


def _median(runs: list[dict[str, Any]]) -> dict[str, float]:
    names = ["requests_per_second", "p50_ms", "p99_ms", "requests_per_second_with_settling", "settling_us_per_row"]
    return {name: round(statistics.median(run[name] for run in runs), 2) for name in names if name in runs[0]}


def _settle(gateway: LocalGateway) -> float:
    """Wait until all that the gateway logged is settled; return the CPU seconds that its process took meanwhile."""
    before = _cpu_seconds(gateway.pid)
    while _health(gateway)["counters"]["journaled_rows"]:
        time.sleep(0.2)
    return _cpu_seconds(gateway.pid) - before


def _cpu_seconds(pid: int | None) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def weight_changes(gateway: LocalGateway, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return how soon a written weight is in effect under load."""
    router = GatewayRouter(gateway.url)
    traffic = router.read(kind)
    assert traffic is not None
    router.write(replace(traffic, weight_percent=0.0))
    client = _background_load(gateway, kind, traffic, options.changes * 0.25 + 2, options.connections)
    time.sleep(0.7)
    writes = []
    for number in range(options.changes):
        began = time.monotonic()
        router.write(replace(traffic, weight_percent=0.0 if number % 2 else 100.0))
        writes.append((began, time.monotonic(), "champion" if number % 2 else "challenger"))
        time.sleep(0.25)
    answers = _answers_of(client)
    taken = []
    for number, (began, _, new) in enumerate(writes):
        until = writes[number + 1][0] if number + 1 < len(writes) else float("inf")
        old = [end for _, end, _, answered in answers if began <= end < until and answered != new]
        taken.append(max([end - began for end in old], default=0.0))
    return {
        "changes": len(writes),
        "requests": len(answers),
        "requests_without_score": _without_score(answers),
        "write_ms": _spread([ended - began for began, ended, _ in writes]),
        "last_answer_of_the_old_variant_ms": _spread(taken),
        "answered_by_the_old_variant_though_sent_after_the_write": sum(
            ended < start and end < writes[number + 1][0] and answered != new
            for number, (_, ended, new) in enumerate(writes[:-1])
            for start, end, _, answered in answers
        ),
    }


def killed_processes(gateway: LocalGateway, kind: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return what becomes of requests while a model's process is killed."""
    router = GatewayRouter(gateway.url)
    traffic = router.read(kind)
    assert traffic is not None
    router.write(replace(traffic, weight_percent=50.0))
    found: dict[str, Any] = {}
    for role in ("challenger", "champion"):
        client = _background_load(gateway, kind, traffic, 6.0, options.connections)
        time.sleep(2)
        before = _state(gateway, kind)[role]
        os.kill(before["pid"], signal.SIGKILL)
        killed_at = time.monotonic()
        while (after := _state(gateway, kind)[role])["losses"] == before["losses"] or not after["up"]:
            time.sleep(0.02)
        back = time.monotonic() - killed_at
        answers = _answers_of(client)
        found[role] = {
            "requests": len(answers),
            "requests_without_score": _without_score(answers),
            "process_back_after_ms": round(back * 1000, 1),
            "slowest_answer_ms": round(max(end - start for start, end, _, _ in answers) * 1000, 1),
        }
        time.sleep(2)
    return found


def _background_load(
    gateway: LocalGateway, kind: str, traffic: Traffic, seconds: float, connections: int
) -> subprocess.Popen[str]:
    spec = gateway_spec(gateway.port or 0, kind, str(traffic.champion["view_digest"]), 1)
    spec |= {"prefix": f"{time.monotonic_ns():x}-", "seconds": seconds, "connections": connections}
    spec |= {"answers": True, "pick": ['"variant":"', '"']}
    client = subprocess.Popen([sys.executable, str(CLIENT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert client.stdin is not None
    client.stdin.write(json.dumps(spec))
    client.stdin.close()
    client.stdin = None
    return client


def _answers_of(client: subprocess.Popen[str]) -> list[tuple[float, float, int, str]]:
    output, _ = client.communicate(timeout=180)
    figures = json.loads(output)
    if figures["lost"]:
        raise RuntimeError(f"{figures['lost']} requests were not answered")
    return [tuple(answer) for answer in figures["answers"]]


def _without_score(answers: list[tuple[float, float, int, str]]) -> int:
    return sum(status != 200 or answered not in ("champion", "challenger") for _, _, status, answered in answers)


def _state(gateway: LocalGateway, kind: str) -> dict[str, Any]:
    state: dict[str, Any] = _health(gateway)["models"][kind]
    return state


def _health(gateway: LocalGateway) -> dict[str, Any]:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port or 0, timeout=30)
    connection.request("GET", "/healthz")
    health: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return health


def _spread(seconds: list[float]) -> dict[str, float]:
    return {
        "median": round(statistics.median(seconds) * 1000, 1),
        "max": round(max(seconds) * 1000, 1),
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5.0, help="of one load")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, nargs="*", default=[1, 2], help="of MLflow; none leaves it out")
    parser.add_argument("--changes", type=int, default=40, help="of the weight")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        store = FolderStore(folder / "store")
        with LocalGateway(folder / "gateway", store.uri) as gateway:
            figures: dict[str, Any] = {
                "cores": os.cpu_count(),
                "load_average_before": [round(one, 2) for one in os.getloadavg()],
                "connections": options.connections,
                "serving": compared(gateway, store, folder, options),
                "weight_change": weight_changes(gateway, "trees", options),
                "killed_process": killed_processes(gateway, "trees", options),
            }
    figures["load_average_after"] = [round(one, 2) for one in os.getloadavg()]
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
