"""Functions of a DAG file leave their process and come back alike."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.errors import NotPortable
from airflow_ml.runtime.capture import as_function_ref, capture
from airflow_ml.runtime.load import imported_names, load_function

DAG_FILE = '''
from __future__ import annotations

import functools
import math
import os.path
import xml.dom
from collections import OrderedDict
from dataclasses import dataclass, field
from math import sqrt as root
from typing import TYPE_CHECKING

from airflow.sdk import dag, task
from helpers.clean import scale
from airflow_ml_nowhere_guarded import *  # replaced below

if TYPE_CHECKING:
    import pandas as pd

SEEDS = (1, 2, 3)
SETTINGS = {"depth": 4, "names": ["a", "b"], "set": {"x", "y"}}
CONNECTION = open(os.devnull)


@dataclass(frozen=True)
class Base:
    depth: int = SETTINGS["depth"]


@dataclass(frozen=True)
class Point(Base):
    x: float = 0.0
    tags: list[str] = field(default_factory=list)

    def moved(self, by: pd.Series) -> Point:
        return Point(self.depth, self.x + by)


@functools.lru_cache
def helper(x):
    """A helper."""
    return _square(x) + 1


def _square(x):
    return x * x


def unrelated():
    return CONNECTION


def even(n: int) -> bool:
    return True if n == 0 else odd(n - 1)


def odd(n: int) -> bool:
    return False if n == 0 else even(n - 1)


def train(data: pd.DataFrame, params, depth=SETTINGS["depth"], *, kind: Unknown = "x"):
    import statistics

    def inner(values, shift=math.pi):
        return [root(v) + shift for v in values if v not in SETTINGS["names"]]

    class Local:
        seeds = SEEDS
        total = sum(s for s in seeds)

    point = Point(x=1.5).moved(1)
    return {
        "helper": helper(3), "inner": inner([4.0]), "total": Local.total, "point": (point.depth, point.x),
        "seeds": SEEDS, "scaled": scale(2), "dom": xml.dom.__name__, "mean": statistics.mean([1, 3]), "depth": depth,
        "kind": kind, "odd": odd(5), "od": list(OrderedDict(a=1)), "set": sorted(SETTINGS["set"]),
    }


def failing(data, params):
    value = 1
    raise ValueError("here")  # the line of the failure


def uses_connection(data):
    return CONNECTION.read()


def imports_airflow(data):
    from airflow.sdk import Variable
    return Variable


def uses_airflow(data):
    return task


def build(offset):
    functions = []
    shared = {"k": offset}
    def fact(n):
        return 1 if n < 2 else n * fact(n - 1)
    for index in range(3):
        def nested(data, params, trial, index=index):
            text = """
not indented
"""
            return index + offset + shared["k"] + fact(4) + len(text)
        functions.append(nested)
    def ping(n):
        return pong(n - 1) if n else "ping"
    def pong(n):
        return ping(n - 1) if n else "pong"
    return functions, ping
'''.replace("from airflow_ml_nowhere_guarded import *  # replaced below\n", "")


def forget_helpers() -> None:
    """Let each test import its own folder's ``helpers``."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "helpers"]:
        del sys.modules[name]


def load_dag(folder: Path, text: str = DAG_FILE, mangled: str = "unusual_prefix_0123_flights") -> ModuleType:
    """Import a file as Airflow's DAG processor does, with its folder on the path."""
    forget_helpers()
    (folder / "helpers").mkdir(exist_ok=True)
    (folder / "helpers" / "clean.py").write_text(
        "from .factor import FACTOR\n\n\ndef scale(x):\n    return x * FACTOR\n"
    )
    (folder / "helpers" / "factor.py").write_text("FACTOR = 10\n")
    (folder / "flights.py").write_text(text)
    spec = importlib.util.spec_from_file_location(mangled, folder / "flights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[mangled] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def dag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(tmp_path))
    forget_helpers()
    module = load_dag(tmp_path)
    yield module
    module.CONNECTION.close()
    forget_helpers()


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def travel(function: Callable[..., Any], store: FolderStore, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Capture and load a function, with nothing of its project importable but through the package."""
    ref = as_function_ref(capture(function), store)
    forget_helpers()
    monkeypatch.setattr(sys, "path", [path for path in sys.path if "pytest" not in path])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    return load_function(ref, store)


def test_a_function_with_helpers_classes_constants_and_imports_gives_the_same(dag, store, monkeypatch):
    expected = dag.train(None, {})
    loaded = travel(dag.train, store, monkeypatch)
    assert loaded is not dag.train
    assert loaded(None, {}) == expected
    assert sys.modules["helpers.clean"].__file__ == "helpers/clean.py"


def test_nested_functions_keep_their_closures_and_their_own_defaults(dag, store, monkeypatch):
    functions, ping = dag.build(100)
    expected = [function(None, {}, None) for function in functions]
    loaded = [travel(function, store, monkeypatch) for function in functions]
    assert [function(None, {}, None) for function in loaded] == expected
    assert len({capture(function).digest for function in functions}) == 3
    again = travel(ping, store, monkeypatch)
    assert (again(4), again(3)) == ("ping", "pong")


def test_tracebacks_show_the_original_file_line_and_text(dag, store, monkeypatch):
    loaded = travel(dag.failing, store, monkeypatch)
    with pytest.raises(ValueError, match="here") as caught:
        loaded(None, {})
    line = next(n for n, text in enumerate(DAG_FILE.splitlines(), 1) if "the line of the failure" in text)
    frame = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (frame.filename, frame.lineno, frame.name) == (dag.__file__, line, "failing")
    assert frame.line == 'raise ValueError("here")  # the line of the failure'


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("uses_connection", "uses 'CONNECTION', which cannot leave this process"),
        ("imports_airflow", "imports Airflow: airflow.sdk"),
        ("uses_airflow", "uses 'task'"),
        ("unrelated", "'CONNECTION'"),
    ],
)
def test_what_cannot_travel_is_named_with_a_remedy(dag, name, said):
    with pytest.raises(NotPortable, match=said) as caught:
        capture(getattr(dag, name))
    assert caught.value.remedy


@pytest.mark.parametrize("value", [len, lambda data: data, print, 3, object()])
def test_only_plain_functions_are_captured(value):
    with pytest.raises(NotPortable):
        capture(value)


def digest_of(folder: Path, text: str) -> str:
    """Import a DAG file from a new folder, with its own helpers, and return the digest of its function."""
    sys.path.insert(0, str(folder))
    try:
        module = load_dag(folder, text, f"unusual_prefix_{folder.name}")
        digest = capture(module.train).digest
        module.CONNECTION.close()
        return digest
    finally:
        sys.path.remove(str(folder))
        forget_helpers()


@pytest.fixture
def digests(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    def run(old: str = "", new: str = "") -> str:
        assert old in DAG_FILE
        return digest_of(tmp_path_factory.mktemp("dags"), DAG_FILE.replace(old, new) if old else DAG_FILE)

    return run


def test_another_process_computes_the_same_digest(digests, tmp_path):
    code = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]); import test_capture;"
        "print(test_capture.digest_of(Path(sys.argv[2]), test_capture.DAG_FILE))"
    )
    program = [sys.executable, "-c", code, str(Path(__file__).parent), str(tmp_path)]
    environment = {**os.environ, "PYTHONHASHSEED": "77"}
    done = subprocess.run(program, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == digests()


def test_the_digest_follows_the_code_that_travels_and_nothing_else(digests):
    first = digests()
    assert first == digests()  # in another folder
    assert first == digests("def unrelated():\n", "def unrelated():\n    # one more line\n")
    assert first != digests("return x * x", "return x * x * x")
    assert first != digests("SEEDS = (1, 2, 3)", "SEEDS = (1, 2, 4)")
    assert first != digests('{"depth": 4', '{"depth": 5')


def test_a_changed_project_file_changes_the_digest(dag, tmp_path):
    before = capture(dag.train).digest
    (tmp_path / "helpers" / "factor.py").write_text("FACTOR = 11\n")
    assert capture(dag.train).digest != before


def test_a_project_file_that_imports_airflow_is_refused(dag, tmp_path):
    (tmp_path / "helpers" / "factor.py").write_text("import airflow\nFACTOR = 11\n")
    with pytest.raises(NotPortable, match=r"helpers/factor.py, which imports Airflow: line 1"):
        capture(dag.train)


def test_a_module_function_is_imported_by_name(store):
    from airflow_ml.core.fingerprint import digest_bytes

    captured = capture(digest_bytes)
    assert (captured.kind, captured.module, captured.package) == ("import", "airflow_ml.core.fingerprint", b"")
    assert load_function(as_function_ref(captured, store), store) is digest_bytes


def test_a_function_of_a_project_module_travels_with_the_files_it_reaches(dag, store, tmp_path, monkeypatch):
    captured = capture(dag.scale, root=tmp_path)
    assert (captured.kind, captured.module) == ("import", "helpers.clean")
    ref = as_function_ref(captured, store)
    forget_helpers()
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path != str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    loaded = load_function(ref, store)
    assert loaded(3) == 30
    assert loaded is not dag.scale


def test_the_libraries_of_a_function_are_known_before_it_runs(dag, store):
    names = set(imported_names(as_function_ref(capture(dag.train), store), store))
    assert {"statistics", "xml.dom", "collections", "math", "functools"} <= names
    assert not any(name.startswith("helpers") for name in names)


def test_a_large_constant_is_refused(tmp_path):
    (tmp_path / "big.py").write_text("BIG = list(range(30000))\n\n\ndef f():\n    return BIG\n")
    spec = importlib.util.spec_from_file_location("unusual_prefix_big", tmp_path / "big.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["unusual_prefix_big"] = module
    spec.loader.exec_module(module)
    with pytest.raises(NotPortable, match="over the limit of 65536"):
        capture(module.f)
