"""Models in the artifact store, as the selection stage leaves them: for tests and benchmarks of what serves them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.record import JSON

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore


def store_models(
    store: ArtifactStore,
    pooled: Any,
    features: Sequence[str],
    *,
    by: str | None = None,
    members: Mapping[str, Any] | None = None,
) -> Artifact:
    """Store fitted estimators and their manifest (see ``core.selection.Selection.models``); return the manifest.

    Args:
        store: Where to.
        pooled: Answers for every group without a member.
        features: Columns of the estimators, in order; numbers or booleans.
        by: Column that names the group.
        members: Group to estimator.
    """
    from airflow_ml.runtime.codecs import store_value

    def member(model: Any) -> dict[str, JSON]:
        artifact = store_value(model, store)
        return {"params": {}, "trial": "", "value": 0.0, "rows": 1, "model": artifact.to_dict()}

    manifest: dict[str, JSON] = {
        "by": by,
        "features": list(features),
        "categories": {},
        "members": {group: member(model) for group, model in (members or {}).items()},
        "pooled": member(pooled),
    }
    return store.put_bytes(json.dumps(manifest, sort_keys=True).encode(), format="json")


def variant(version: str, models: Artifact, features: Sequence[str]) -> dict[str, JSON]:
    """Return a variant of a traffic configuration; its view digest is that of the features."""
    return {
        "version": version,
        "models": models.to_dict(),
        "view_digest": digest_json(list(features)),
        "features": list(features),
    }


def identity_models(store: ArtifactStore, feature: str = "x", *, shift: float = 0.0) -> Artifact:
    """Store a linear model whose score is its one feature plus ``shift``, so that a test chooses the scores."""
    import pandas as pd
    from sklearn.linear_model import LinearRegression

    model = LinearRegression().fit(pd.DataFrame({feature: [0.0, 1.0]}), [shift, 1.0 + shift])
    return store_models(store, model, [feature])
