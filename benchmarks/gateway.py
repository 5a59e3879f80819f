"""Speed of the local gateway with champion and challenger loaded, as JSON.

    python benchmarks/gateway.py [--seconds 5] [--clients 4]

Models are gradient boosted trees of the demo's size (80 rounds, 12 features). Clients keep their connection and send
the next request when the last is answered; figures are of this machine, with clients and gateway sharing its cores.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayRouter
from airflow_ml.core.ports import Traffic
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import store_models, variant

FEATURES = [f"f{number}" for number in range(12)]
MODEL = "bench"


def trees(store: FolderStore, seed: int) -> Any:
    """Store a fitted model and return its manifest."""
    draw = np.random.default_rng(seed)
    frame = pd.DataFrame(draw.normal(size=(5000, len(FEATURES))), columns=FEATURES)
    late = frame["f0"] + draw.normal(size=len(frame)) > 0
    return store_models(
        store, HistGradientBoostingClassifier(max_iter=80, random_state=seed).fit(frame, late), FEATURES
    )


def send(port: int, view: str, rows: int, seconds: float, client: int) -> list[float]:
    """Send batches for some seconds and return the latency of each request in seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    latencies: list[float] = []
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        batch = [
            {
                "key": f"{client}-{rows}-{len(latencies)}-{number}-{until}",
                "unit": f"N{number + len(latencies)}",
                "at": "2013-05-01T10:00:00Z",
                "features": {view: dict.fromkeys(FEATURES, 0.5)},
            }
            for number in range(rows)
        ]
        body = json.dumps({"rows": batch})
        began = time.perf_counter()
        connection.request("POST", f"/v1/models/{MODEL}/predict", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.read()
        latencies.append(time.perf_counter() - began)
        if response.status != 200:
            raise RuntimeError(f"HTTP {response.status}")
    return latencies


def load(port: int, view: str, rows: int, seconds: float, clients: int) -> dict[str, float]:
    """Return requests and rows per second and latencies in milliseconds."""
    with multiprocessing.get_context("spawn").Pool(clients) as pool:
        pool.starmap(send, [(port, view, 1, 0.2, client) for client in range(clients)])
        parts = pool.starmap(send, [(port, view, rows, seconds, client) for client in range(clients)])
    latencies = sorted(latency for part in parts for latency in part)
    return {
        "requests_per_second": round(len(latencies) / seconds, 1),
        "rows_per_second": round(len(latencies) * rows / seconds, 1),
        "p50_ms": round(statistics.median(latencies) * 1000, 2),
        "p99_ms": round(latencies[int(len(latencies) * 0.99)] * 1000, 2),
    }


def weight_changes(router: GatewayRouter, traffic: Traffic, count: int) -> dict[str, float]:
    """Return how long a write of another weight takes until it is durable and in effect."""
    latencies = []
    for number in range(count):
        began = time.perf_counter()
        router.write(replace(traffic, weight_percent=float(number % 100)))
        latencies.append(time.perf_counter() - began)
    latencies.sort()
    return {"p50_ms": round(latencies[count // 2] * 1000, 2), "max_ms": round(latencies[-1] * 1000, 2)}


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--clients", type=int, default=4)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = FolderStore(Path(folder) / "store")
        champion, challenger = (variant(str(seed), trees(store, seed), FEATURES) for seed in (1, 2))
        with LocalGateway(Path(folder) / "gateway", store.uri) as gateway:
            router = GatewayRouter(gateway.url)
            traffic = Traffic(
                model=MODEL,
                epoch=1,
                champion=champion,
                challenger=challenger,
                weight_percent=50.0,
                expires_at=None,
                salt="benchmark",
            )
            began = time.perf_counter()
            router.write(traffic)
            loading = time.perf_counter() - began
            view, port = str(champion["view_digest"]), gateway.port or 0
            figures = {
                "cores": os.cpu_count(),
                "clients": options.clients,
                "load_both_variants_seconds": round(loading, 2),
                "rows_1": load(port, view, 1, options.seconds, options.clients),
                "rows_100": load(port, view, 100, options.seconds, options.clients),
                "weight_change": weight_changes(router, traffic, 100),
            }
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
