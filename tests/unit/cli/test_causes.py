"""diff of every kind of thing, the picture of lineage, notebooks, completion: on a store that @task.ml tasks wrote."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import nbformat
import pandas as pd
import pytest
from airflow.sdk import DAG, task

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime"))
from sweep_parts import function_of

import airflow_ml
from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.cli import main
from airflow_ml.client import find_run, runs
from airflow_ml.core.provenance import index_ref, run_ref
from airflow_ml.errors import ArtifactNotFound
from airflow_ml.runtime.codecs import store_value
from airflow_ml.runtime.locked_environment import environments_folder
from airflow_ml.testing.recorded_line import NOW, Line

TABLE = 'def table(rows, shift=0.0):\n    return rows.assign(late=rows["delay"] + shift > 5)\n'


def table(rows: Any, shift: float = 0.0) -> Any:
    return rows.assign(late=rows["delay"] + shift > 5)


def share(frame: Any) -> dict[str, float]:
    if not len(frame):
        raise ValueError("no rows")
    return {"late": float(frame["late"].mean())}


def play(run: str, function: Any, frame: pd.DataFrame, *, shift: float = 0.0, fails: bool = False) -> None:
    """Run two tasks as Airflow would."""
    store = FolderStore(Path(os.environ["AIRFLOW__ML__ARTIFACT_STORE"].removeprefix("file://")))
    dag_run = SimpleNamespace(run_type="manual", triggering_user_name="ada", start_date=datetime.now(UTC))

    def context(name: str) -> Any:
        instance = SimpleNamespace(dag_id="flights", run_id=run, task_id=name, map_index=-1, try_number=1)
        return {"ti": instance, "dag_run": dag_run, "params": {}}

    with DAG("flights", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        first: Any = task.ml(task_id="clean")(function)(store_value(frame, store).to_dict(), shift=shift).operator
        second: Any = task.ml(task_id="share", seed=1)(share)(None).operator
    made = first.execute(context("clean"))
    second.op_args = [store_value(frame.head(0), store).to_dict() if fails else made]
    if fails:
        with pytest.raises(Exception, match="no rows"):
            second.execute(context("share"))
    else:
        second.execute(context("share"))


FRAME = pd.DataFrame({"delay": [float(number % 20) for number in range(400)], "carrier": ["AA", "DL"] * 200})


@pytest.fixture
def store_uri(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    uri = f"file://{tmp_path}/store"
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", uri)
    monkeypatch.delenv("AIRFLOW_ML_NAMESPACE", raising=False)
    (tmp_path / "later").mkdir()
    play("run_1", function_of(tmp_path, TABLE, "table"), FRAME)
    changed = function_of(tmp_path / "later", TABLE.replace("> 5", ">= 6"), "table")
    play("run_2", changed, FRAME.assign(delay=FRAME["delay"] * 3), shift=2.0)
    return uri


def said(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    assert main([*arguments, "--output", "json"]) == code
    return json.loads(capsys.readouterr().out)


def test_diff_of_runs_tells_the_causes_first(store_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "diff", "flights/run_1", "flights/run_2")
    assert [one["kind"] for one in found["changes"]][:2] == ["code", "params"]
    assert any(line.startswith("+") and ">= 6" in line for line in found["code"])
    (first, *_) = found["data"]
    columns = {one["column"]: one for one in first["columns"]}
    assert first["table"] == "Artifact return of clean"
    assert columns["delay"]["drifted"]
    assert "mean 9.5 > 28.5" in columns["delay"]["what"]
    assert main(["diff", "flights/run_1", "flights/run_1"]) == 0
    assert capsys.readouterr().out == "No difference.\n"


def test_diff_of_tasks_and_artifacts(store_uri: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = said(capsys, "diff", "flights/run_1/clean", "flights/run_2/clean", "--no-data")
    assert {"code", "params"} <= {one["kind"] for one in found["changes"]}
    assert found["data"] == []
    digests = [find_run("flights", run)["clean"].outputs[0].digest for run in ("run_1", "run_2")]  # type: ignore[attr-defined]
    found = said(capsys, "diff", digests[0][7:19], digests[1])
    assert {one["column"] for one in found["data"][0]["columns"]} == {"delay", "late"}
    found = said(capsys, "diff", "flights/clean@run_1", "flights/clean@run_2")
    assert found["data"][0]["table"] == "columns"
    assert main(["diff", "flights/run_1", digests[0]]) == 1
    assert "Two different kinds of things" in capsys.readouterr().err
    assert main(["diff", "nothing@3", "nothing@4"]) == 1
    assert "Neither a run" in capsys.readouterr().err


def test_diff_of_two_versions_of_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is told by the run that registered it, however many came after."""
    store = FolderStore(tmp_path / "store")
    line = Line(store, dag="flights")
    for number, trials in enumerate((4, 8, 4, 4)):
        line.record_run(f"run_{number}", began=NOW + timedelta(hours=number), trials=trials)
    place = ("--store", store.uri, "--namespace", "prod")
    found = said(capsys, "diff", "flights_model@1", "flights_model@2", *place)
    told = [(one["kind"], one["task"], one["what"]) for one in found["changes"]]
    assert [what for what in told if what[1] == "train.collect" and "best.value" in what[2]], told
    assert [what for what in told if what[0] == "metrics" and "validate_brier" in what[2]], told
    assert {kind for kind, _, _ in told}.isdisjoint({"code", "params", "environment"})
    found = said(capsys, "diff", "flights_model@2", "flights_model", *place)
    assert found["changes"], "without a version the newest is meant"
    assert said(capsys, "diff", "flights_model@4", "flights_model", *place)["changes"] == []
    assert main(["diff", "flights_model@4", "flights_model@9", *place]) == 1
    assert "Newest versions of flights_model: 4, 3, 2, 1." in capsys.readouterr().err


def test_lineage_as_a_picture(store_uri: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    digest = find_run("flights", "run_2")["clean"].outputs[0].digest  # type: ignore[attr-defined]
    picture = tmp_path / "out.svg"
    assert main(["lineage", digest, "--graph", str(picture)]) == 0
    texts = "".join(ElementTree.fromstring(picture.read_text()).itertext())
    assert "Artifact" in texts
    assert "clean" in texts
    assert digest in texts
    assert main(["lineage", "0" * 20, "--runs", "1"]) == 1
    assert "newest 1 runs" in capsys.readouterr().err


def test_a_notebook_has_the_inputs_and_the_function(store_uri: str, tmp_path: Path) -> None:
    """Valid, and all its code runs."""
    file = tmp_path / "clean.ipynb"
    assert main(["notebook", "flights", "run_1", "clean", "--into", str(file)]) == 0
    notebook = nbformat.read(file, as_version=4)
    nbformat.validate(notebook)
    names: dict[str, Any] = {}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            exec(compile(cell.source, "cell", "exec"), names)
    assert names["rows"].equals(FRAME)
    assert names["result"]["late"].mean() == 0.7
    assert names["task"].again(shift=100.0)["late"].all()
    assert "def table(rows" in "".join(cell.source for cell in notebook.cells)
    assert main(["notebook", "flights", "run_1", "clean", "--into", str(file)]) == 1, "a file is not replaced"


@pytest.mark.long
def test_a_notebook_runs_in_a_kernel(store_uri: str, tmp_path: Path) -> None:
    from nbclient import NotebookClient

    file = tmp_path / "share.ipynb"
    assert main(["notebook", "flights", "latest", "share", "--into", str(file)]) == 0
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(notebook, timeout=120).execute()
    assert "late" in str(notebook.cells[-1].outputs)


def test_the_client_reads_only_the_newest_runs(store_uri: str) -> None:
    index = Path(store_uri.removeprefix("file://")) / "refs" / index_ref("prod", "flights")
    oldest = min(index.iterdir())
    oldest.chmod(0o644)
    oldest.write_bytes(b"not JSON")
    assert [run.run for run in runs("flights", limit=1)] == ["run_2"]
    assert find_run("flights").run == "run_2"
    assert find_run("flights", "run_1").run == "run_1", "a whole id is found without the index"


def test_a_branch_reads_production_and_has_its_own_runs(store_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    store = FolderStore(Path(store_uri.removeprefix("file://")))
    before = {ref: [dict(entry.value) for entry in store.history(ref)] for ref in store.refs() if "/prod/" in ref}
    monkeypatch.setenv("AIRFLOW_ML_NAMESPACE", "ada")
    made = airflow_ml.load("flights/clean@latest")
    assert made.digest == find_run("flights", "run_2", namespace="prod")["clean"].outputs[0].digest  # type: ignore[attr-defined]
    play("run_3", table, FRAME)
    assert find_run("flights").run == "run_3"
    assert airflow_ml.read("prod:flights/clean@run_1")["late"].mean() == 0.7
    with pytest.raises(ArtifactNotFound):
        find_run("flights", "run_1", namespace="ada")
    assert store.latest(run_ref("ada", "flights", "run_3")) is not None
    after = {ref: [dict(entry.value) for entry in store.history(ref)] for ref in store.refs() if "/prod/" in ref}
    assert after == before, "nothing of production's was written"


def completed(line: str) -> list[str]:
    """Ask as bash does: the words come back on file descriptor 8."""
    program = "import sys; from airflow_ml.cli import main; sys.argv[0] = 'airflow-ml'; main()"
    read, write = os.pipe()
    environment = {**os.environ, "_ARGCOMPLETE": "1", "COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9",
                   "_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": f"/dev/fd/{write}"}  # fmt: skip
    subprocess.run([sys.executable, "-c", program], env=environment, pass_fds=[write], check=False, timeout=60)
    os.close(write)
    with os.fdopen(read) as answers:
        return [word.strip() for word in answers.read().splitlines()]


def test_a_shell_completes_verbs_and_tasks(store_uri: str) -> None:
    assert "reproduce" in completed("airflow-ml rep")
    assert set(completed("airflow-ml reproduce flights latest ")) >= {"clean", "share"}


def test_a_failure_stops_in_the_debugger(store_uri: str, tmp_path: Path) -> None:
    play("run_4", table, FRAME, fails=True)
    command = [sys.executable, "-c", "import sys; from airflow_ml.cli import main; sys.exit(main())",
               "reproduce", "flights", "run_4", "share", "--pdb"]  # fmt: skip
    done = subprocess.run(
        command, input="p len(frame)\np frame.columns.tolist()\nq\n", capture_output=True, text=True, timeout=120,
        check=False, env={**os.environ, "AIRFLOW_CONN_X": "planted-secret"},
    )  # fmt: skip
    assert "ValueError: no rows" in done.stderr
    assert "(Pdb) 0" in done.stdout
    assert "'carrier'" in done.stdout
    assert done.returncode == 1


def test_a_success_stops_at_the_first_line(store_uri: str) -> None:
    command = [sys.executable, "-c", "import sys; from airflow_ml.cli import main; sys.exit(main())",
               "reproduce", "flights", "run_1", "share", "--pdb"]  # fmt: skip
    typed = "b 42\nimport os; print(sorted(n for n in os.environ if 'CONN' in n))\nc\nc\n"
    done = subprocess.run(
        command, input=typed, capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "AIRFLOW_CONN_X": "planted-secret"},
    )  # fmt: skip
    assert "[]" in done.stdout, "no connection is taken along"
    assert "returned: {'late': 0.7}" in done.stdout


def test_environments_are_kept_where_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AIRFLOW_ML_ENVIRONMENTS", str(tmp_path / "kept"))
    assert environments_folder() == tmp_path / "kept"
