"""MLflow does not call home: wherever this package imports it first, its telemetry and its own log are off by then."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
#: As a worker has it: none of the variables by which tests and continuous integration switch telemetry off.
BARE = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
MLFLOW_IS_QUIET = """
import sys
assert "mlflow" in sys.modules, "it was not imported, so nothing is shown"
from mlflow.telemetry.client import get_telemetry_client
assert get_telemetry_client() is None
import logging
assert logging.getLogger("mlflow").handlers == [], "it writes to stderr, all of which Airflow shows as errors"
"""


def run(code: str) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", code], env=BARE, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr[-2000:]


@pytest.mark.parametrize(
    "code",
    [
        pytest.param(
            """
from pathlib import Path
from airflow_ml.runtime.model_signature import save_pyfunc
here = Path("/nowhere")
try:
    save_pyfunc(here, data=here, loader="x", example=None, features=None, rows=here, libraries={})
except FileNotFoundError:
    pass
""",
            id="a model directory is written",
        ),
        pytest.param(
            """
from airflow_ml.adapters.mlflow_session import Session
with Session("http://127.0.0.1:9").operation():
    pass
""",
            id="the registry is opened",
        ),
    ],
)
def test_mlflow(code: str) -> None:
    run(code + MLFLOW_IS_QUIET)
