"""Git as it is: a real checkout, a changed one, none at all."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from airflow_ml.core.provenance import GitState
from airflow_ml.runtime.code_state import git_state, read_status


def git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q", "-b", "trunk")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "d.py").write_text("x = 1\n")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    git_state.cache_clear()
    return tmp_path


def test_a_clean_checkout(checkout: Path) -> None:
    (checkout / "untracked").write_text("")
    assert git_state(checkout / "dags") == GitState(
        commit=git(checkout, "rev-parse", "HEAD"), branch="trunk", dirty="no"
    )


def test_a_changed_file(checkout: Path) -> None:
    (checkout / "dags" / "d.py").write_text("x = 2\n")
    assert git_state(checkout / "dags").dirty == "yes"


def test_no_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git_state.cache_clear()
    assert git_state(tmp_path) == GitState() == GitState(commit="unknown", branch="unknown", dirty="unknown")
    (tmp_path / ".git").mkdir()  # looks like one, is none
    git_state.cache_clear()
    assert git_state(tmp_path) == GitState()
    monkeypatch.setenv("PATH", "")
    git_state.cache_clear()
    assert git_state(tmp_path) == GitState()


def test_a_checkout_without_a_commit() -> None:
    assert read_status("# branch.oid (initial)\n# branch.head main\n") == GitState(branch="main", dirty="no")
