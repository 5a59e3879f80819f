"""Takes the pictures of docs/howto/ui.md: a copy of a finished demo behind a real API server, in Chromium.

    python scripts/ui_pictures.py .demo docs/images

Nothing of the demo is changed; the copy is removed at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import quote

from airflow_ml.testing.airflow_instance import AirflowInstance

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
TRAIN, MODEL = "flight_delays_train", "flight_delays"
SIZE: Any = {"width": 1280, "height": 860}


def pages(run: str, first: str) -> dict[str, tuple[str, str]]:
    """Return each picture's address and words that stand on it once it is drawn; the first run has most trials."""
    place = f"/dags/{TRAIN}/runs/{quote(run, safe='')}"
    query = f"dag_id={TRAIN}&run_id={quote(run, safe='')}"
    return {
        "ui-run": (f"{place}/plugin/ml-run", "Compared with"),
        "ui-sweep": (
            f"/plugin/ml/sweep?dag_id={TRAIN}&run_id={quote(first, safe='')}&task_id=train.plan",
            "Leaderboard",
        ),
        "ui-model": (f"/plugin/ml/model?model={MODEL}", "Promotion history"),
        "ui-snapshot": (f"/plugin/ml/snapshot?{query}&task_id=gate_dataset", "First rows"),
        "ui-task": (f"{place}/tasks/train.shards/mapped/0/plugin/ml-task", "Bring it home"),
        "ui-canary": (f"/plugin/ml/canary?model={MODEL}", "Samples per arm"),
    }


def take(browser: Any, instance: AirflowInstance, folder: Path) -> None:
    """Open each page and write its picture."""
    import httpx

    login = {"username": instance.username, "password": instance.password}
    token = httpx.post(f"{instance.base_url}/auth/token", json=login, trust_env=False, timeout=120).json()
    runs = instance.api.request("GET", f"/dags/{TRAIN}/dagRuns?order_by=-run_after")["dag_runs"]
    context = browser.new_context(viewport=SIZE, timezone_id="UTC", color_scheme="light")
    context.set_default_timeout(120_000)
    context.add_cookies([{"name": "_token", "value": token["access_token"], "url": instance.base_url}])
    page = context.new_page()
    for name, (path, words) in pages(runs[0]["dag_run_id"], runs[-1]["dag_run_id"]).items():
        page.goto(f"{instance.base_url}{path}")
        page.get_by_text(words).first.wait_for()
        page.wait_for_function("() => !document.querySelector('[role=status][aria-label=Loading]')")
        page.wait_for_timeout(1_500)  # what Airflow draws around it
        page.screenshot(path=str(folder / f"{name}.png"))


def main() -> None:
    """Copy, serve, take, remove."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("demo", type=Path)
    parser.add_argument("images", type=Path)
    options = parser.parse_args()
    if CHROMIUM is None:
        raise SystemExit("No chromium here: install it, or name one in CHROMIUM.")
    with tempfile.TemporaryDirectory() as folder:
        home, store = Path(folder) / "airflow", Path(folder) / "store"
        home.mkdir()
        shutil.copy(options.demo / "airflow" / "airflow.db", home)
        shutil.copytree(options.demo / "store", store)
        dags = Path(folder) / "dags"
        dags.mkdir()
        environment = {"AIRFLOW__ML__ARTIFACT_STORE": store.as_uri()}
        mlflow = {"conn_type": "mlflow", "host": "http://mlflow.example.com:5000"}
        instance = AirflowInstance(home, dags, env=environment, connections={"mlflow_default": mlflow})
        try:
            instance.start(timeout_seconds=400, components=["api-server"])
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
                take(browser, instance, options.images)
                browser.close()
        finally:
            instance.stop()


if __name__ == "__main__":
    main()
