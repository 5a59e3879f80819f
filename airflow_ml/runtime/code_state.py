"""The checkout that a file came from, as git tells it."""

from __future__ import annotations

import dataclasses
import functools
import os
import subprocess
from pathlib import Path

from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.provenance import UNKNOWN, GitState

#: A task does not wait longer for what only informs.
GIT_TIMEOUT_SECONDS = 2.0
MAX_DIFF_CHARACTERS = 1024 * 1024


@functools.cache
def git_state(folder: Path) -> GitState:
    """Return commit, branch and whether tracked files were changed; ``unknown`` where there is no git or no answer.

    Asked once for each process and folder, in one call of git, without locks and without running hooks.
    """
    if not any((level / ".git").exists() for level in (folder, *folder.parents)):
        return GitState()
    output = _git(folder, "status", "--porcelain=v2", "--branch", "--untracked-files=no", "--ignore-submodules=all")
    return read_status(output) if output is not None else GitState()


def git_state_of_version(folder: Path, version: str) -> GitState:
    """Return what `git_state` does, from this machine's cache: what a version is does not change.

    Args:
        folder: In the checkout.
        version: Of the bundle, with its name.
    """
    from airflow_ml.runtime.environment_cache import remembered

    name = f"checkout-{digest_json([str(folder), version]).partition(':')[2]}"
    found = remembered(name, lambda: dataclasses.asdict(git_state(folder)))
    return GitState(**{key: str(value) for key, value in found.items()})


def uncommitted(folder: Path) -> str | None:
    """Return the difference of tracked files from the commit, at most 1 MiB of it; None without an answer."""
    output = _git(folder, "diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--ignore-submodules=all")
    if output is None or len(output) <= MAX_DIFF_CHARACTERS:
        return output
    return f"{output[:MAX_DIFF_CHARACTERS]}\n... {len(output) - MAX_DIFF_CHARACTERS} characters more\n"


def _git(folder: Path, *arguments: str) -> str | None:
    """Ask git, without locks and without running anything that the repository names."""
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=GIT_TIMEOUT_SECONDS,
            check=False,
            env={name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout if done.returncode == 0 else None


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
