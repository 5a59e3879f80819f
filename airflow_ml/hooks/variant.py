"""A registered version as a router's variant: its models, view and features, read from the version's tags."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.registration import ModelVersion
from airflow_ml.errors import ModelNotServable

if TYPE_CHECKING:
    from airflow_ml.core.ports import RegisteredModel

_MODELS = "airflow_ml.models"
_VIEW_DIGEST = "airflow_ml.view_digest"
_VIEW_DEFINITION = "airflow_ml.view_definition"
_FEATURES = "airflow_ml.features"
_DATA = "airflow_ml.data"


def variant_tags(version: ModelVersion, data: Artifact) -> dict[str, str]:
    """Return the tags by which a version can be served again, whoever reads the registry.

    Args:
        version: The version.
        data: The `FeatureSet` it was trained with, as a JSON artifact.
    """
    return {
        _MODELS: json.dumps(version.models.to_dict(), sort_keys=True),
        _VIEW_DIGEST: version.view_digest,
        _VIEW_DEFINITION: json.dumps(version.view_definition.to_dict(), sort_keys=True),
        _FEATURES: json.dumps(list(version.features)),
        _DATA: json.dumps(data.to_dict(), sort_keys=True),
    }


def variant_of(registered: RegisteredModel) -> dict[str, Any]:
    """Return ``{"version", "models", "view_digest", "view_definition", "features", "data"}`` of a registered version.

    Raises:
        ModelNotServable: the version was not registered by airflow_ml.
    """
    tags: Mapping[str, str] = registered.tags
    missing = [name for name in (_MODELS, _VIEW_DIGEST, _VIEW_DEFINITION, _FEATURES, _DATA) if name not in tags]
    if missing:
        raise ModelNotServable(
            f"Version {registered.version} of {registered.name} cannot be served",
            f"it lacks the tags {', '.join(missing)}",
            "Register it with register_model.",
        )
    return {
        "version": registered.version,
        "models": json.loads(tags[_MODELS]),
        "view_digest": tags[_VIEW_DIGEST],
        "view_definition": json.loads(tags[_VIEW_DEFINITION]),
        "features": json.loads(tags[_FEATURES]),
        "data": json.loads(tags[_DATA]),
    }
