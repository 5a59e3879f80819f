"""The tutorial on debugging, played: the DAG on real flights, and every command with the output that the page shows."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.cli import main
from airflow_ml.decorators.ml import MLDecoratedOperator

HERE = Path(__file__).parent
PAGE = (HERE.parents[2] / "docs" / "tutorial" / "debug-a-production-task.md").read_text(encoding="utf-8")
DAYS = {"2013-02-07": 15, "2013-02-08": 15}


@pytest.fixture(scope="module")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A store after both days, written by the tasks as a worker runs them."""
    folder = tmp_path_factory.mktemp("late_hours")
    uri = f"file://{folder}/store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AIRFLOW__ML__ARTIFACT_STORE", uri)
        for day in DAYS:
            play(day)
    return uri


def play(day: str) -> None:
    dag = runpy.run_path(str(HERE / "late_hours.py"))["late_hours"]()
    run = f"manual__{day}T20:31:03.321818+00:00"
    # As `airflow dags test` makes its runs.
    began = datetime.fromisoformat(day).replace(tzinfo=UTC)
    dag_run = SimpleNamespace(run_type="manual", triggering_user_name="dag_test", start_date=began)

    def context(task: str, map_index: int = -1) -> Any:
        instance = SimpleNamespace(dag_id="late_hours", run_id=run, task_id=task, map_index=map_index, try_number=1)
        return {"ti": instance, "dag_run": dag_run, "params": {}}

    departures = dag.task_dict["departures"]
    departures.op_args = [day]
    for position, frame in enumerate(departures.execute(context("departures"))):
        with DAG("late_hours", start_date=datetime(2013, 1, 1, tzinfo=UTC)) as alone:
            function = dag.task_dict["worst_hour"].python_callable
            mapped: Any = MLDecoratedOperator(
                python_callable=function, task_id="worst_hour", op_kwargs={"flights": frame}
            )
        alone.fileloc = dag.fileloc
        try:
            mapped.execute(context("worst_hour", position))
        except ValueError:
            assert day == "2013-02-08"


def shown(command: str) -> list[str]:
    """The lines of the block behind the one that holds a command."""
    found = re.search(rf"```sh\n[^`]*{re.escape(command)}[^`]*```\n\n[^`]*```text\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, command
    return [line.rstrip() for line in found[1].splitlines() if line.strip() and line.strip() != "..."]


def plain(text: str) -> str:
    """Without what is another one each time: digests, seconds, moments."""
    text = re.sub(r"\b[0-9a-f]{12,64}\b", "<digest>", text)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00(?=  )", "<time>", text)
    return re.sub(r"\s+", " ", re.sub(r"\b\d+\.\d\b(?=  )", "<seconds>", text)).strip()


@pytest.mark.parametrize(
    ("command", "code"),
    [
        ("airflow-ml runs late_hours", 0),
        ("airflow-ml show late_hours/latest", 0),
        ("airflow-ml reproduce late_hours latest worst_hour --map-index 14", 0),
        ("airflow-ml diff late_hours/before/worst_hour[14] late_hours/latest/worst_hour[14]", 0),
    ],
)
def test_the_page_shows_what_the_command_prints(
    store_uri: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: str, code: int
) -> None:
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", store_uri)
    assert main(command.split()[1:]) == code
    printed = [plain(line) for line in capsys.readouterr().out.splitlines()]
    for line in shown(command):
        assert plain(line) in printed, "\n".join(printed)


def test_the_debugger_stops_where_the_page_says(store_uri: str) -> None:
    command = [sys.executable, "-c", "import sys; from airflow_ml.cli import main; sys.exit(main())",
               "reproduce", "late_hours", "latest", "worst_hour", "--map-index", "14", "--pdb"]  # fmt: skip
    lines = shown("worst_hour --map-index 14 --pdb")
    (typed,) = [line.removeprefix("(Pdb) ") for line in lines if line.startswith("(Pdb)")]
    done = subprocess.run(
        command, input=f"{typed}\nq\n", capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "AIRFLOW__ML__ARTIFACT_STORE": store_uri},
    )  # fmt: skip
    printed = [plain(line.removeprefix("(Pdb)")) for line in f"{done.stdout}\n{done.stderr}".splitlines()]
    for line in lines:
        if not line.startswith("(Pdb)"):
            assert plain(line) in printed, "\n".join(printed)


def test_the_mended_function_does_what_it_should(store_uri: str, tmp_path: Path) -> None:
    """The notebook's code, then the page's."""
    file = tmp_path / "late.ipynb"
    command = f"notebook late_hours latest worst_hour --map-index 14 --into {file} --store {store_uri}"
    assert main(command.split()) == 0
    names: dict[str, Any] = {}
    for cell in json.loads(file.read_text())["cells"]:
        if cell["cell_type"] == "code" and "task.again()" not in cell["source"]:
            exec(compile(cell["source"], "cell", "exec"), names)
    assert names["flights"]["carrier"].unique().tolist() == ["YV"]
    with pytest.raises(ValueError, match="NA"):
        names["task"].again()
    (mended,) = re.findall(r"```python\n(def worst_hour.*?)```", PAGE, re.DOTALL)
    exec(compile(f"result = None\n{mended}\nresult = worst_hour(**arguments)", "page", "exec"), names)
    assert names["result"] is None
    store = FolderStore(Path(store_uri.removeprefix("file://")))
    assert len([ref for ref in store.refs("runs/prod/late_hours") if "worst_hour" in ref]) == sum(DAYS.values())
