"""How long until a page of the plugin says something, at a real API server in Chromium, and how large its bundle is.

    python benchmarks/ui_paint.py [--loads 5] [--runs 1000] [--trials 20000] [--store FOLDER] [--pages NAME ...]

The API server is Airflow's own, one worker, over the store of benchmarks/ui.py; the browser is on the same machine.
Prints JSON, in milliseconds from the navigation:

- ``first_load``: with an empty cache, as somebody's first visit of the day; ``again``: the median of further loads.
- ``page``: until heading and the first row or figure of the answer are drawn. ``airflow``: until Airflow's own frame
  was there in the same load. ``script`` and ``answer``: when the bundle and the page's own answer had arrived, and
  ``answer_took`` how long the latter was under way.
- ``empty_page``: the same address with a bundle that draws a heading and nothing else: what Airflow itself takes
  until any plugin's page is drawn. ``ours`` is what a page takes beyond it.

``first_answer_milliseconds`` is the overview asked of a server that has just begun to serve. The bundle's size is what
a browser receives.
"""

from __future__ import annotations

import argparse
import gzip
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

sys.path.insert(0, str(Path(__file__).parent))
from ui import DAG, SWEEP_RUN, make_store

ROOT = Path(__file__).resolve().parents[1]
BUNDLE = ROOT / "airflow_ml" / "plugin" / "www" / "dist" / "airflow_ml.js"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")

ENTER_A_DAG = f"""
from airflow.models.dag import DagModel
from airflow.models.dagbundle import DagBundleModel
from airflow.utils.session import create_session

with create_session() as session:
    session.merge(DagBundleModel(name="bench"))
    session.flush()
    session.add(DagModel(dag_id="{DAG}", bundle_name="bench", is_stale=False))
"""
#: Draws a heading as soon as Airflow asks it to: no plugin's page is drawn earlier.
STUB = 'globalThis.ML = () => globalThis.React.createElement("h1", {className: "stub"}, "Here");'
#: Notes when Airflow's frame and when the plugin's answer were first there.
WATCH = """
window.seen = {};
const look = () => {
  const now = performance.now();
  if (!window.seen.airflow && document.querySelector('#root nav, #root a')) { window.seen.airflow = now; }
  const answered = document.querySelector('h1') && document.querySelector('section td, dl dd');
  if (answered || document.querySelector('h1.stub')) {
    requestAnimationFrame(() => { window.seen.page = performance.now(); });
    return;
  }
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""
#: When the plugin's own parts had arrived.
PARTS = """
() => {
  const asked = performance.getEntriesByType('resource');
  const script = asked.find(one => one.name.includes('/static/airflow_ml.js'));
  const answer = asked.find(one => one.name.includes('/airflow-ml/api/'));
  return {
    ...window.seen, script: script?.responseEnd ?? 0, answer: answer?.responseEnd ?? 0,
    answer_took: answer ? answer.responseEnd - answer.startTime : 0,
  };
}
"""


def pages_of(runs: int) -> dict[str, str]:
    """Return the pages' addresses below the plugin's."""
    sweep = {"dag_id": DAG, "run_id": SWEEP_RUN, "task_id": "train.collect"}
    last = {"dag_id": DAG, "run_id": f"run {runs - 1:04d}"}
    return {
        "overview": "",
        "model": f"model?model={DAG}_model",
        "canary": f"canary?model={DAG}_model",
        "sweep": f"sweep?{urlencode(sweep)}",
        "data": "data",
        "snapshot": f"snapshot?{urlencode({**last, 'task_id': 'snapshot'})}",
        "run": f"run?{urlencode(last)}",
        "task": f"task?{urlencode({**last, 'task_id': 'gate_dataset'})}",
    }


class Visits:
    """Loads of pages by one user, each in a browser's window that knows nothing yet."""

    def __init__(self, browser: Any, address: str, token: str) -> None:
        self._browser, self._address, self._token = browser, address, token

    def measure(self, path: str, loads: int, *, stub: bool = False) -> dict[str, dict[str, int]]:
        """Load one page several times."""
        context = self._browser.new_context(viewport={"width": 1440, "height": 1000})
        context.add_cookies([{"name": "_token", "value": self._token, "url": self._address}])
        context.add_init_script(WATCH)
        page = context.new_page()
        if stub:
            page.route(
                "**/airflow-ml/static/airflow_ml.js*",
                lambda route: route.fulfill(body=STUB, content_type="text/javascript"),
            )
        seen = []
        for _ in range(1 + loads):
            page.goto(f"{self._address}/plugin/ml/{path}".rstrip("/"))
            page.wait_for_function("() => window.seen.page", timeout=120_000)
            seen.append(page.evaluate(PARTS))
        context.close()
        names = ("airflow", "page") if stub else ("airflow", "script", "answer", "answer_took", "page")
        first, again = seen[0], seen[1:]
        return {
            "first_load": {name: round(first[name]) for name in names},
            "again": {name: round(statistics.median(one[name] for one in again)) for name in names},
        }


def measure(store: Path, home: Path, runs: int, loads: int, wanted: list[str]) -> dict[str, Any]:
    """Start an API server over a store, and load the wanted pages."""
    import httpx
    from playwright.sync_api import sync_playwright

    from airflow_ml.testing.airflow_instance import AirflowInstance

    instance = AirflowInstance(home, home, env={"AIRFLOW__ML__ARTIFACT_STORE": store.as_uri()}, dag_files=("none.py",))
    instance.prepare()
    subprocess.run([sys.executable, "-c", ENTER_A_DAG], env=instance.environment(), cwd=home, check=True)
    try:
        instance.start(timeout_seconds=300, components=["api-server"])
        with httpx.Client(base_url=instance.base_url, trust_env=False, timeout=120) as client:
            login = {"username": instance.username, "password": instance.password}
            token = client.post("/auth/token", json=login).json()["access_token"]
            began = time.perf_counter()
            client.get("/airflow-ml/api/overview", headers={"Authorization": f"Bearer {token}"}).raise_for_status()
            first_answer = round((time.perf_counter() - began) * 1000)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            visits = Visits(browser, instance.base_url, token)
            visits.measure("", 1)  # the browser's own first start is nobody's page
            empty = visits.measure("", loads, stub=True)
            pages = {name: visits.measure(path, loads) for name, path in pages_of(runs).items() if name in wanted}
            browser.close()
    finally:
        instance.stop()
    ours = {
        name: {load: times[load]["page"] - empty[load]["page"] for load in ("first_load", "again")}
        for name, times in pages.items()
    }
    return {"first_answer_milliseconds": first_answer, "empty_page": empty, "ours": ours, "pages": pages}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--loads", type=int, default=5)
    parser.add_argument("--runs", type=int, default=1_000)
    parser.add_argument("--trials", type=int, default=20_000)
    parser.add_argument("--store", type=Path, help="kept and used again; default: a temporary folder")
    parser.add_argument("--pages", nargs="+", choices=[*pages_of(1)], default=[*pages_of(1)])
    options = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("No chromium here: install it, or name one in CHROMIUM.")
    with tempfile.TemporaryDirectory() as folder:
        store = (options.store or Path(folder) / "store").resolve()
        if not (store / "refs").exists():
            writer = multiprocessing.get_context("spawn").Process(
                target=make_store, args=(store, options.runs, options.trials)
            )
            writer.start()
            writer.join()
        before = os.getloadavg()[0]
        found = measure(store, Path(folder) / "home", options.runs, options.loads, options.pages)
    bundle = {"bytes": BUNDLE.stat().st_size, "gzip_bytes": len(gzip.compress(BUNDLE.read_bytes(), 9))}
    after = os.getloadavg()[0]
    machine = {"cpus": os.cpu_count(), "load_1m_before": round(before, 1), "load_1m_after": round(after, 1)}
    print(json.dumps({"machine": machine, "bundle": bundle, "paint_milliseconds": found}, indent=1))


if __name__ == "__main__":
    main()
