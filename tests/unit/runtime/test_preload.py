"""A library that cannot be imported before the workers are forked is told of, and fails where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.memory.store import MemoryStore
from airflow_ml.runtime import preload as module
from airflow_ml.runtime.preload import preload


@pytest.mark.parametrize("text", ["raise SystemExit(3)", "1 / 0", "import not_there_at_all", "def"])
def test_what_fails_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    (tmp_path / "odd_library.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(module, "imported_names", lambda *args: ["odd_library"])
    told: list[str] = []
    ref: Any = None
    preload(ref, MemoryStore(), log=told.append)
    assert [line.partition(":")[0] for line in told] == ["Importing odd_library"]
