"""A folder as an artifact: each file is a blob, and a manifest names them; equal files are stored once."""

from __future__ import annotations

import atexit
import contextlib
import errno
import json
import os
import shutil
import tempfile
import unicodedata
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import ArtifactCorrupt, NoCodec

#: The artifact's format; its content is the manifest.
FORMAT = "directory"
#: Each file waits for the disk; so many wait side by side.
_THREADS = 8
_LIMIT_FILES = 100_000


def put_directory(folder: Path, store: ArtifactStore, *, metadata: dict[str, str] | None = None) -> Artifact:
    """Store all files below a folder.

    Names, contents and whether a file may be executed are kept; owners, times and other rights are not. Empty folders
    are kept.

    Raises:
        NoCodec: for a link, a socket or another special file, a name that is not text or looks like another one of its
            folder, or more than 100,000 files.
    """
    files, folders = _found(folder)

    def put(name: str) -> dict[str, Any]:
        path = folder / name
        artifact = store.put_file(path, format="file")
        run = {"executable": True} if os.access(path, os.X_OK) and path.stat().st_mode & 0o111 else {}
        return {"path": name, "digest": artifact.digest, "size_bytes": artifact.size_bytes, **run}

    with ThreadPoolExecutor(_THREADS) as pool:
        listed = list(pool.map(put, files))
    manifest = canonical_json({"files": listed, "folders": folders})
    facts = {"files": str(len(files)), "bytes": str(sum(item["size_bytes"] for item in listed))}
    return store.put_bytes(manifest, format=FORMAT, metadata={**(metadata or {}), "file_name": folder.name, **facts})


def inner_artifacts(artifact: Artifact, store: ArtifactStore) -> list[Artifact]:
    """Return the files that an artifact's manifest names; none where it is not a folder."""
    return files_of(store.get_bytes(artifact)) if artifact.format == FORMAT else []


def files_of(manifest: bytes) -> list[Artifact]:
    """Return the files that a folder's manifest names."""
    listed = json.loads(manifest)["files"]
    return [Artifact(digest=item["digest"], format="file", size_bytes=item["size_bytes"], uri="") for item in listed]


def get_directory(artifact: Artifact, store: ArtifactStore, *, into: Path | None = None) -> Path:
    """Return a folder with the files of an artifact, each verified.

    Args:
        artifact: What ``put_directory`` returned.
        store: Where its content is.
        into: A folder that does not exist yet; by default a temporary one that goes when this process ends. It is there
            with all of its files, or not at all.

    Raises:
        FileExistsError: there is something at ``into``.
        ArtifactNotFound, ArtifactCorrupt: as the store does; a manifest with a name that leads out of the folder is
            corrupt.
    """
    manifest = json.loads(store.get_bytes(artifact))
    for name in (*manifest["folders"], *(item["path"] for item in manifest["files"])):
        _check(name, artifact)
    target = _temporary(artifact) if into is None else into
    if target.exists() or target.is_symlink():
        raise FileExistsError(errno.EEXIST, "Give a folder that does not exist yet", str(target))
    # A name of its own until it is whole: whoever looks meanwhile, or after a failure, finds nothing.
    filling = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    try:
        _fill(filling, manifest, store)
        filling.rename(target)
    except BaseException:
        shutil.rmtree(filling, ignore_errors=True)
        raise
    return target


def _fill(target: Path, manifest: dict[str, Any], store: ArtifactStore) -> None:
    target.mkdir(parents=True)
    folders = {target / name for name in manifest["folders"]}
    for path in folders | {(target / item["path"]).parent for item in manifest["files"]}:
        path.mkdir(parents=True, exist_ok=True)

    def get(item: dict[str, Any]) -> None:
        stored = Artifact(digest=item["digest"], format="file", size_bytes=item["size_bytes"], uri="")
        path = target / item["path"]
        with path.open("xb") as copy, store.path(stored).open("rb") as source:
            shutil.copyfileobj(source, copy, 1 << 20)
        path.chmod(0o755 if item.get("executable") else 0o644)

    with ThreadPoolExecutor(_THREADS) as pool:
        list(pool.map(get, manifest["files"]))


def _found(folder: Path) -> tuple[list[str], list[str]]:
    """Return the files and the empty folders below a folder, sorted, as relative POSIX paths."""
    files: list[str] = []
    empty: list[str] = []
    for where, names, entries in os.walk(folder, onerror=_refuse):
        below = Path(where).relative_to(folder)
        _refuse_twins(below, [*names, *entries])
        for name in (*names, *entries):
            path = Path(where, name)
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                raise NoCodec(
                    "A folder holds something that is neither a file nor a folder",
                    str(below / name),
                    "Replace links by what they lead to; leave special files out.",
                )
        files += [(below / name).as_posix() for name in entries]
        if not names and not entries and below != Path():
            empty.append(below.as_posix())
        if len(files) > _LIMIT_FILES:
            raise NoCodec("A folder holds too many files", f"over {_LIMIT_FILES}", "Put the rows into one table.")
    return sorted(files), sorted(empty)


def _refuse(error: OSError) -> None:
    raise NoCodec("A folder cannot be read", str(error), "Give the task the right to read it.") from error


def _refuse_twins(below: Path, names: list[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        try:
            name.encode()
        except UnicodeEncodeError:
            raise NoCodec("A file's name is not text", repr(str(below / name)), "Rename it.") from None
        other = seen.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name or "\\" in name:
            raise NoCodec(
                "A file's name would not come back the same everywhere", repr(str(below / name)), "Rename it."
            )


def _check(name: object, artifact: Artifact) -> None:
    """Refuse a path that leaves its folder, whoever wrote the manifest."""
    parts = name.split("/") if isinstance(name, str) else [""]
    if any(part in ("", ".", "..") or "\x00" in part or "\\" in part for part in parts):
        raise ArtifactCorrupt("A folder's manifest names a path outside of it", repr(name), f"See {artifact.digest}.")


def _temporary(artifact: Artifact) -> Path:
    holder = Path(tempfile.mkdtemp(prefix="airflow-ml-directory-"))
    path = holder / (Path(artifact.metadata.get("file_name", "")).name or "folder")
    atexit.register(shutil.rmtree, holder, ignore_errors=True)
    return path


def is_directory(value: object) -> bool:
    """Tell whether a value is the path of a folder, which is stored as a manifest."""
    with contextlib.suppress(OSError):
        return isinstance(value, Path) and value.is_dir()
    return False
