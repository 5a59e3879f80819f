"""A model process over a store that fails at first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.errors import RouterFailed
from airflow_ml.gateway.batch import Table
from airflow_ml.gateway.models import ModelProcess
from airflow_ml.gateway.processes import Spawner
from airflow_ml.testing.served_models import identity_models


def test_a_model_that_loads_at_the_second_try_is_loaded(tmp_path: Path) -> None:
    """A gateway that starts while its store is away must still take a rollback later, which names the same champion."""
    store = FolderStore(tmp_path / "store")
    manifest = identity_models(store)
    blob = store.path(manifest)
    away = blob.rename(tmp_path / "away")

    async def go() -> None:
        spawner = Spawner(store.uri)
        process = ModelProcess(manifest, spawner)
        try:
            with pytest.raises(RouterFailed, match=r"cannot be loaded.*restore the store\. Check"):
                await process.loaded()
            away.rename(blob)
            await process.ready(patience_seconds=60)
            await process.loaded()
            assert await process.predict(Table(1, {"x": [0.25]})) == [pytest.approx(0.25)]
        finally:
            await process.close()
            await spawner.close()

    asyncio.run(go())
