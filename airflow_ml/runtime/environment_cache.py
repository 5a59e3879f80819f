"""Caches the description of this machine's Python environment, keyed by the names and times of what is installed."""

from __future__ import annotations

import json
import os
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

from airflow_ml.core.fingerprint import canonical_json, digest_json
from airflow_ml.core.record import JSON

#: Raised when the description gets another form.
_VERSION = 1


def cached_description(describe: Callable[[], dict[str, JSON]], *, folder: Path | None = None) -> dict[str, JSON]:
    """Return the description of the environment that is installed now.

    Args:
        describe: Makes it, slowly.
        folder: Where descriptions are kept; default a folder of this user's among the temporary files. One that others
            may write to is not used.
    """
    return remembered(f"environment-{_installed_key().partition(':')[2]}", describe, folder=folder)


def remembered(name: str, make: Callable[[], dict[str, JSON]], *, folder: Path | None = None) -> dict[str, JSON]:
    """Return a description that this machine kept under a name, or make and keep it.

    Args:
        name: Changes whenever the description would.
        make: Makes it, slowly.
        folder: As for `cached_description`.
    """
    folder = folder or Path(tempfile.gettempdir()) / f"airflow-ml-{os.getuid()}"
    file = folder / f"{name}.json"
    if not _is_private(folder):
        return make()
    try:
        kept = json.loads(file.read_bytes())
        if digest_json(kept["description"]) == kept["digest"]:
            description: dict[str, JSON] = kept["description"]
            return description
    except (OSError, ValueError, KeyError, TypeError):
        pass  # not there yet, or damaged: make it again
    description = make()
    _keep(file, {"description": description, "digest": digest_json(description)})
    return description


def _installed_key() -> str:
    """Return a digest that changes whenever a distribution comes, goes or is replaced. Takes about 2 ms."""
    found: list[list[JSON]] = []
    for place in sys.path:
        try:
            with os.scandir(place or ".") as entries:
                found += [
                    [place, item.name, item.stat().st_mtime_ns]
                    for item in entries
                    if item.name.endswith((".dist-info", ".egg-info", ".egg-link"))
                ]
        except OSError:  # a zip, or not there
            found.append([place, "", os.stat(place).st_mtime_ns if os.path.exists(place) else 0])
    return digest_json([_VERSION, sys.version, sys.prefix, os.uname().machine, sorted(found, key=str)])


def _is_private(folder: Path) -> bool:
    """Make the folder if needed, and say whether it is this user's alone."""
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o022


def _keep(file: Path, value: Mapping[str, JSON]) -> None:
    temporary = file.with_name(f"{file.name}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(canonical_json(value))
        os.replace(temporary, file)
    except OSError:
        temporary.unlink(missing_ok=True)
