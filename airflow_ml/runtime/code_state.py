"""The checkout that a file came from, as git tells it."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path

from airflow_ml.core.provenance import UNKNOWN, GitState

#: A task does not wait longer for what only informs.
GIT_TIMEOUT_SECONDS = 2.0


@functools.cache
def git_state(folder: Path) -> GitState:
    """Return commit, branch and whether tracked files were changed; ``unknown`` where there is no git or no answer.

    Asked once for each process and folder, in one call of git, without locks and without running hooks.
    """
    if not any((level / ".git").exists() for level in (folder, *folder.parents)):
        return GitState()
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder)]
    command += ["status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=all"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        )
    except (OSError, subprocess.SubprocessError):
        return GitState()
    return read_status(done.stdout) if done.returncode == 0 else GitState()


def read_status(text: str) -> GitState:
    """Read the output of ``git status --porcelain=v2 --branch``."""
    lines = text.splitlines()
    heads = dict(line[2:].partition(" ")[::2] for line in lines if line.startswith("# branch."))
    commit = heads.get("branch.oid", UNKNOWN)
    dirty = any(line and not line.startswith("#") for line in lines)
    return GitState(
        commit=UNKNOWN if commit == "(initial)" else commit,
        branch=heads.get("branch.head", UNKNOWN),
        dirty="yes" if dirty else "no",
    )
