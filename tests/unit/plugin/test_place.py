"""The store that an API server opens."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.errors import ConfigurationError
from airflow_ml.plugin.place import Place


@pytest.mark.parametrize("written", ["uri", "path"])
def test_a_page_never_makes_the_store_that_it_looks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str
) -> None:
    """An empty mount point stays empty, and is no store in which nothing was recorded; once it is there, it is read."""
    folder = tmp_path / "mount point"
    folder.mkdir()
    monkeypatch.setenv("AIRFLOW__ML__ARTIFACT_STORE", folder.as_uri() if written == "uri" else str(folder))
    place = Place()
    with pytest.raises(ConfigurationError, match="no artifact store in the folder"):
        place.shelf()
    assert list(folder.iterdir()) == []
    FolderStore(folder)
    assert place.shelf().store.uri == folder.as_uri()
