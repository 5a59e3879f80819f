"""The runtime as one file: the same bytes for the same sources, and all that it needs."""

from __future__ import annotations

import ast
import io
import subprocess
import sys
import zipfile
from pathlib import Path

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.runtime.bundle import SURFACE, imported_modules
from airflow_ml.runtime.zipapp import build_runtime, store_runtime


def modules_of(archive: zipfile.ZipFile) -> dict[str, str]:
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): archive.read(name).decode()
        for name in archive.namelist()
    }


def without_type_checking(tree: ast.Module) -> ast.Module:
    """Leave out what is imported for type checkers only."""
    tree.body = [part for part in tree.body if ast.unparse(getattr(part, "test", part)) != "TYPE_CHECKING"]
    return tree


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    first = build_runtime()
    program = (
        "import hashlib; from airflow_ml.runtime.zipapp import build_runtime;"
        "print(hashlib.sha256(build_runtime()).hexdigest())"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    store = FolderStore(tmp_path)
    artifact = store_runtime(store)
    assert artifact.digest == f"sha256:{found.stdout.strip()}"
    assert store_runtime(store).digest == artifact.digest
    assert store.get_bytes(artifact) == first
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == sorted(set(archive.namelist()))
        assert {item.date_time for item in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_all_that_it_imports_of_this_package_travels() -> None:
    with zipfile.ZipFile(io.BytesIO(build_runtime())) as archive:
        modules = modules_of(archive)
    assert not {name for name in modules if name.split(".")[1:2] and name.split(".")[1] in SURFACE}
    for name, text in modules.items():
        for statement in ast.walk(without_type_checking(ast.parse(text))):
            if isinstance(statement, ast.ImportFrom) and str(statement.module).startswith("airflow_ml"):
                assert statement.module in modules, f"{name} imports {statement.module}, which does not travel"
        tops = {wanted.partition(".")[0] for wanted in imported_modules(ast.parse(text).body)}
        assert "airflow" not in tops, name


def test_it_is_small() -> None:
    assert len(build_runtime()) < 1_500_000
