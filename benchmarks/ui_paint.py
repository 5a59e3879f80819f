"""How long until a page of the plugin says something, and how large its bundle is.

    python benchmarks/ui_paint.py [--loads 5]

Opens the pages in Chromium inside the web pages of the installed Airflow, over the fixtures of tests/integration, and
prints as JSON, in milliseconds from the navigation: ``first_load`` with an empty cache, and the median of further loads
``again``, until the page's heading and the first row or figure of its answer are drawn. Beside each stands
``airflow``: until Airflow's own frame, which the same load draws, was there; the difference is the plugin's part. The
bundle's size is what a browser receives (gzip, level 9).
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
HOST = ROOT / "tests" / "integration" / "ui_host.py"
BUNDLE = ROOT / "airflow_ml" / "plugin" / "www" / "dist" / "airflow_ml.js"
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
RUN = "dag_id=flight_delays_train&run_id=scheduled__2013-05-11T00%3A00%3A00%2B00%3A00"
PAGES = {
    "overview": "",
    "canary": "canary?model=flight_delays",
    "model": "model?model=flight_delays",
    "sweep": f"sweep?{RUN}&task_id=train.plan",
    "run": f"run?{RUN}",
}

#: Notes when Airflow's frame and when the plugin's answer were first there.
WATCH = """
window.seen = {};
const look = () => {
  const now = performance.now();
  if (!window.seen.airflow && document.querySelector('#root nav, #root a')) { window.seen.airflow = now; }
  if (document.querySelector('h1') && document.querySelector('section td, dl dd')) {
    requestAnimationFrame(() => { window.seen.page = performance.now(); });
    return;
  }
  requestAnimationFrame(look);
};
requestAnimationFrame(look);
"""


def measure(browser: Any, address: str, path: str, loads: int) -> dict[str, Any]:
    """Load one page several times in a browser of its own."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    context.add_init_script(WATCH)
    page = context.new_page()
    seen = []
    for _ in range(1 + loads):
        page.goto(f"{address}plugin/ml/{path}".rstrip("/"))
        page.wait_for_function("() => window.seen.page", timeout=120_000)
        seen.append(page.evaluate("() => window.seen"))
    context.close()
    first, again = seen[0], seen[1:]
    return {
        "first_load": {name: round(first[name]) for name in ("airflow", "page")},
        "again": {name: round(statistics.median(one[name] for one in again)) for name in ("airflow", "page")},
    }


def main() -> None:
    """Measure and print."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser()
    parser.add_argument("--loads", type=int, default=5)
    loads = parser.parse_args().loads
    if CHROMIUM is None:
        raise SystemExit("No chromium here: install it, or name one in CHROMIUM.")
    host = subprocess.Popen([sys.executable, str(HOST)], stdout=subprocess.PIPE, text=True)
    assert host.stdout is not None
    address = host.stdout.readline().strip()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
            pages = {name: measure(browser, address, path, loads) for name, path in PAGES.items()}
            browser.close()
    finally:
        host.terminate()
        host.wait(10)
    bundle = {"bytes": BUNDLE.stat().st_size, "gzip_bytes": len(gzip.compress(BUNDLE.read_bytes(), 9))}
    machine = {"cpus": os.cpu_count(), "load_1m": os.getloadavg()[0]}
    print(json.dumps({"machine": machine, "bundle": bundle, "paint_milliseconds": pages}, indent=2))


if __name__ == "__main__":
    main()
