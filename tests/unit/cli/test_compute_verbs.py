"""The verbs compute, render and run, on real files and a real store."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from airflow_ml.adapters.object_store import open_store
from airflow_ml.cli import main
from airflow_ml.cli.render import as_yaml
from airflow_ml.core import far_side
from airflow_ml.core.fingerprint import digest_bytes
from airflow_ml.runtime.zipapp import build_runtime

IMAGE = "registry.example.com/train@sha256:" + "0" * 64
PROFILES = f"""
[laptop]

[gpu]
kind = "kubernetes"
image = "{IMAGE}"
gpus = {{ count = 2, memory_gib = 80 }}
kubernetes = {{ namespace = "training" }}

[array]
kind = "batch"
batch = {{ queue = "gpu", job_definition = "train:3" }}
"""
DAG_FILE = """
from datetime import UTC, datetime
from airflow.sdk import dag, task
from airflow_ml import LogUniform

print("a DAG file may print what it likes")

@task.ml(compute=COMPUTE)
def double(number, times=2, at="never"):
    print("at work")
    return {"product": number * times, "at": at}

@task.sweep(space={"a": LogUniform(0.1, 1.0)}, minimize="loss", trials_per_group=3, max_shards=4, mlflow_conn_id=None)
def train(data, params):
    return {"loss": params["a"] + len(data.train.y)}

@dag(schedule=None, start_date=datetime(2024, 1, 1, tzinfo=UTC), params={"where": "here"})
def small():
    made = double(3, at="{{ params.where }}")
    train(double.override(task_id="second")(made))

small()
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "compute.toml").write_text(PROFILES)
    monkeypatch.setenv("AIRFLOW_ML_COMPUTE_PROFILES", str(tmp_path / "compute.toml"))
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    monkeypatch.setenv("USER", "Ada Lovelace")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "small.py").write_text(DAG_FILE.replace("COMPUTE", '"local"'))
    return tmp_path


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return capsys.readouterr().out


def test_compute_lists_what_there_is(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = json.loads(printed(capsys, "compute", "--output", "json"))
    assert [(row["profile"], row["kind"], row["where"]) for row in rows] == [
        ("worker", "worker", None),
        ("local", "local", None),
        ("laptop", "local", None),
        ("gpu", "kubernetes", "training"),
        ("array", "batch", "gpu"),
    ]
    assert rows[3]["gpus"] == "2 >= 80 GiB"


def test_compute_prints_every_option_of_one(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "compute", "gpu")
    assert "gpus = count=2, memory_gib=80, resource=nvidia.com/gpu" in text
    assert "  pod_security = restricted" in text
    whole = json.loads(printed(capsys, "compute", "array", "--output", "json"))
    assert whole["batch"]["job_definition"] == "train:3"
    assert "image" in whole
    assert json.loads(printed(capsys, "compute", "local", "--output", "json"))["kind"] == "local"


def test_compute_says_that_there_is_no_file(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AIRFLOW_ML_COMPUTE_PROFILES", raising=False)
    monkeypatch.setenv("AIRFLOW__ML__COMPUTE_PROFILES", "/no/such.toml")
    assert "Every other name means the worker's own processes: /no/such.toml does not exist." in printed(
        capsys, "compute"
    )


def test_compute_names_the_mistake(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "compute.toml").write_text('[gpu]\nkind = "kubernetes"\nimage = "x:latest"\n')
    assert main(["compute"]) == 1
    assert "compute.toml, [gpu]: image is not named by its digest: x:latest" in capsys.readouterr().err


def test_render_without_a_dag(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "render", "--compute", "gpu", "--calls", "20", "--store", "s3://bucket/ml")
    manifest = yaml.safe_load(text)
    kubernetes_validate.validate(manifest, "1.37", strict=True)
    assert manifest["spec"]["completions"] == 20
    (container,) = manifest["spec"]["template"]["spec"]["containers"]
    assert container["command"] == ["python3", "-c", far_side.BOOTSTRAP]
    variables = {one["name"]: one.get("value") for one in container["env"]}
    assert variables[far_side.STORE] == "s3://bucket/ml"
    assert variables[far_side.RUNTIME] == digest_bytes(build_runtime())
    assert "    import hashlib, os" in text  # a program of several lines stands there as one


def test_render_for_batch(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = json.loads(printed(capsys, "render", "--compute", "array", "--calls", "10001"))
    assert first["arrayProperties"] == {"size": 10_000}
    assert "arrayProperties" not in second


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["render"], "Nothing to render"),
        (["render", "small"], "DAG and TASK belong together: small"),
        (["render", "--compute", "gup"], "No such compute profile: 'gup'. Did you mean gpu?"),
        (["run", "small", "double", "--set", "7"], "--set needs a name and a value: '7'"),
        (["run", "small", "double", "--compute", "gup"], "No such compute profile: 'gup'"),
    ],
)
def test_mistakes(place: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str) -> None:
    assert main(arguments) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("profile", ["laptop", "local", "worker"])
def test_nothing_is_rendered_for_a_place_that_is_sent_nothing(
    place: Path, capsys: pytest.CaptureFixture[str], profile: str
) -> None:
    assert "nothing is sent anywhere" in printed(capsys, "render", "--compute", profile)


@pytest.mark.long
def test_a_task_of_a_dag_is_rendered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dags = str(place / "dags")
    manifest = yaml.safe_load(printed(capsys, "render", "small", "train", "--dags", dags, "--compute", "gpu"))
    assert manifest["metadata"]["annotations"]["airflow-ml/dag"] == "small"
    assert manifest["spec"]["completions"] == 4


@pytest.mark.long
def test_of_a_pod_operator_the_pod_is_rendered(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (place / "dags" / "pods.py").write_text(
        "from airflow.sdk import dag\n"
        "from airflow_ml import GpuPodOperator\n"
        "@dag(schedule=None)\n"
        "def pods():\n"
        "    GpuPodOperator(task_id='tune', compute='gpu', cmds=['tune'], arguments=['{{ ds }}'])\n"
        "pods()\n"
    )
    asked = ["render", "pods", "tune", "--dags", str(place / "dags" / "pods.py")]
    manifest = yaml.safe_load(printed(capsys, *asked))
    assert (manifest["kind"], manifest["metadata"]["namespace"]) == ("Pod", "training")
    [container] = manifest["spec"]["containers"]
    assert (container["image"], container["args"]) == (IMAGE, ["{{ ds }}"])
    assert container["resources"]["limits"]["nvidia.com/gpu"] in (2, "2")
    for name, kind in (("laptop", "local"), ("array", "batch")):  # as the task itself would say
        assert main([*asked, "--compute", name]) == 1
        assert f"profile {name} is of kind {kind}" in capsys.readouterr().err


def test_a_task_of_a_dag_runs_with_airflow_in_a_process_of_its_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dags = str(place / "dags")
    value: Any = json.loads(
        printed(capsys, "run", "small", "second", "--dags", dags, "--set", "number=21", "--set", "at=noon")
    )
    assert value == {"product": 42, "at": "noon"}
    assert list(open_store(f"file://{place}/store").refs("calls"))


def test_yaml_is_what_it_was() -> None:
    value = {"a": "x\ny\n", "b": "no", "c": ["1", 1, None], "d": {"e": "ü"}}
    assert yaml.safe_load(as_yaml(value)) == value
    assert "a: |\n  x\n  y\n" in as_yaml(value)
