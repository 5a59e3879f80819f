"""A locked requirements file becomes an environment, once, and a call runs in it."""

from __future__ import annotations

import shutil
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import DAG, task

from airflow_ml.cli import main
from airflow_ml.errors import CallFailed, ConfigurationError
from airflow_ml.runtime.locked_environment import LockedEnvironment, read_locked, recorded_environment

PACKAGE = "planted_digits"


def wheel(folder: Path, version: str) -> None:
    """Write a wheel of one module, as an index would give it."""
    info = f"{PACKAGE}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{PACKAGE}-{version}-py3-none-any.whl", "w") as archive:
        archive.writestr(f"{PACKAGE}.py", f"VERSION = {version!r}\n")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {version}\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "index"
    folder.mkdir()
    wheel(folder, "1.5")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(folder))
    monkeypatch.setenv("AIRFLOW_ML_ENVIRONMENTS", str(tmp_path / "environments"))
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", f"file://{tmp_path}/store")
    return folder


def version(times: int) -> list[str]:
    import importlib.util
    import sys

    import planted_digits  # type: ignore[import-not-found]  # of the environment alone

    alone = importlib.util.find_spec("pandas") is None
    return [planted_digits.VERSION] * times + [str(alone), str(sys.prefix.startswith(sys.base_prefix + "/lib"))]


def test_a_call_runs_in_its_own_environment(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = tmp_path / "digits.txt"
    lock.write_text("# what the function imports\nplanted-digits==1.5  # pinned\n")
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        operator: Any = task.ml(environment=str(lock))(version)(2).operator
    assert operator.run({}) == ["1.5", "1.5", "True", "False"]
    assert operator.call.environment == read_locked(lock).digest
    shutil.rmtree(index)  # it is built once: nothing is fetched again
    assert operator.run({})[0] == "1.5"


def test_what_is_not_there_says_so(index: Path) -> None:
    wanted = LockedEnvironment(python=read_python(), requirements=("planted-digits==9",))
    with pytest.raises(CallFailed, match="could not be built"):
        wanted.interpreter(lambda line: None)


def read_python() -> str:
    import platform

    return platform.python_version()


@pytest.mark.parametrize(
    "line", ["pandas", "pandas>=2", "-r other.txt", "-e .", "git+https://x/y", "--index-url https://u:p@x", "a==1.*"]
)
def test_only_pins_are_taken(tmp_path: Path, line: str) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text(f"numpy==2.0\n{line}\n")
    with pytest.raises(ConfigurationError, match="Not a pinned requirement"):
        read_locked(file)


def test_hashes_extras_and_markers(tmp_path: Path) -> None:
    file = tmp_path / "requirements.txt"
    file.write_text('Some_Thing[x]==1.0 ; python_version >= "3.11" \\\n  --hash=sha256:aa \\\n  --hash=sha256:bb\n')
    found = read_locked(file)
    assert found.description["distributions"] == {"some-thing": "1.0"}
    assert found.requirements[0].endswith("--hash=sha256:aa --hash=sha256:bb")
    assert recorded_environment(found.description).digest == found.digest


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_locked(tmp_path / "none.txt")


def test_a_recorded_environment_is_what_was_installed() -> None:
    found = recorded_environment({"python": "3.11.9", "distributions": {"b": "2", "airflow-ml": "0.1", "a": "1"}})
    assert (found.requirements, found.closed) == (("a==1", "b==2"), True)


def test_a_task_is_reproduced_in_the_environment_of_its_record(
    index: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Only there is the package that the function imports."""
    lock = tmp_path / "digits.txt"
    lock.write_text("planted-digits==1.5\n")
    with DAG("d", start_date=datetime(2024, 1, 1, tzinfo=UTC)):
        operator: Any = task.ml(environment=str(lock))(version)(1).operator
    instance = SimpleNamespace(dag_id="d", run_id="r", task_id="version", map_index=-1, try_number=1)
    operator.execute({"ti": instance})
    assert main(["reproduce", "d", "latest", "version", "--env", "locked"]) == 0
    assert "identical: version" in capsys.readouterr().out
    assert main(["reproduce", "d", "latest", "version"]) == 3
    said = capsys.readouterr().out
    assert "planted_digits" in said
    assert "planted-digits 1.5 there, missing here" in said
