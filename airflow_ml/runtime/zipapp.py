"""The runtime as one file: core, runtime and the store's client, for places that have Python but not this package.

The same sources give the same bytes on every machine: names sorted, no times, no compression (whose result depends on
the library's version). So it is one blob in the store, put there once.
"""

from __future__ import annotations

import ast
import functools
import io
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

import airflow_ml
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.runtime.bundle import imported_modules

#: What travels: folders whole, and single modules with those of their own folder that they import. Nothing of it
#: imports Airflow.
FOLDERS = ("core", "runtime")
MODULES = (
    *("__init__.py", "client.py", "recorded_run.py", "errors.py"),
    *("adapters/__init__.py", "adapters/object_store.py"),
)
#: The earliest time that the format knows.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_REGULAR_FILE = (stat.S_IFREG | 0o644) << 16


def store_runtime(store: ArtifactStore) -> Artifact:
    """Put the runtime of this package into a store and return its artifact."""
    return store.put_bytes(build_runtime(), format="zip", metadata={"version": airflow_ml.__version__})


@functools.cache
def build_runtime() -> bytes:
    """Return the archive: 0.6 MB, made in about 20 ms."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(_files()):
            item = zipfile.ZipInfo(name, _NO_TIME)
            item.external_attr, item.create_system = _REGULAR_FILE, 3
            archive.writestr(item, content)
    return data.getvalue()


def _files() -> Iterator[tuple[str, bytes]]:
    root = Path(airflow_ml.__file__).parent
    inside = (file for folder in FOLDERS for file in (root / folder).rglob("*.py"))
    for file in (*inside, *_reached([root / name for name in MODULES])):
        yield f"airflow_ml/{file.relative_to(root).as_posix()}", file.read_bytes()


def _reached(files: list[Path]) -> list[Path]:
    """Return some files and those of their own folder that they import, at whatever depth."""
    found: list[Path] = []
    waiting = list(files)
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.append(file)
            names = (name.rpartition(".") for name in imported_modules(ast.walk(ast.parse(file.read_bytes()))))
            package = f"airflow_ml.{file.parent.name}"
            beside = (file.parent / f"{name}.py" for folder, _, name in names if folder == package)
            waiting += [other for other in beside if other.is_file()]
    return found
