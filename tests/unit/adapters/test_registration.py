"""Lineage as tags."""

from __future__ import annotations

from pathlib import Path

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.registration import provenance_tags
from airflow_ml.core.selection import Selection
from airflow_ml.testing.feature_sets import flights, store_feature_set


def test_the_tags_lead_back_to_rows_and_code(tmp_path: Path) -> None:
    store = FolderStore(tmp_path)
    weather = store.put_bytes(b"weather", format="parquet")
    features = store_feature_set(store, flights(30), sources={"weather": weather})
    selection = Selection(
        sweep="sha256:sweep",
        metric="brier",
        direction="minimize",
        value=0.1,
        reason="best",
        models=store.put_bytes(b"{}", format="json"),
        leaderboard=store.put_bytes(b"board", format="parquet"),
        refit="train",
        groups=1,
        data=features.to_dict(),
        code_digest="sha256:code",
    )
    names = {"dag": "flights", "run": "scheduled__2013", "view_digest": "a lie", "odd name'": "x" * 100_000}
    tags = provenance_tags(selection, features, names=names, namespace="prod")
    assert tags["airflow_ml.dag"] == "flights"
    assert tags["airflow_ml.view_digest"] == features.view_digest
    assert tags["airflow_ml.snapshot_digest"] == features.spine.digest
    assert tags["airflow_ml.source.weather"] == weather.digest
    assert tags["airflow_ml.sweep"] == "sha256:sweep"
    assert tags["airflow_ml.code_digest"] == "sha256:code"
    assert tags["airflow_ml.selection"] == selection.fingerprint
    assert max(map(len, tags.values())) <= 60_000
    assert not any("'" in name for name in tags)
