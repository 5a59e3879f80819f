"""The lineage of a model version as tags: from its run in Airflow back to the rows and the code it was made of."""

from __future__ import annotations

from collections.abc import Mapping

from airflow_ml.adapters.mlflow_limits import MAX_VERSION_TAG_CHARS, fit_tags
from airflow_ml.core.features import FeatureSet
from airflow_ml.core.selection import Selection

#: Every tag of ours begins with it.
PREFIX = "airflow_ml."


def provenance_tags(
    selection: Selection, features: FeatureSet, *, names: Mapping[str, str], namespace: str
) -> dict[str, str]:
    """Return what a version was made of, by digests that lead to the artifacts themselves.

    Args:
        selection: The models.
        features: What they were trained on.
        names: Who made them: ``dag``, ``run``, ``task`` and the like, as names to show.
        namespace: Of the version.

    Returns:
        Tags that MLflow takes; a name in ``names`` never replaces one of the digests.
    """
    lineage = {
        **{f"{PREFIX}{name}": value for name, value in names.items()},
        f"{PREFIX}namespace": namespace,
        f"{PREFIX}selection": selection.fingerprint,
        f"{PREFIX}sweep": selection.sweep,
        f"{PREFIX}code_digest": selection.code_digest,
        f"{PREFIX}view": features.view,
        f"{PREFIX}view_digest": features.view_digest,
        f"{PREFIX}features_digest": features.artifact.digest,
        f"{PREFIX}snapshot_digest": features.spine.digest,
        f"{PREFIX}models_digest": selection.models.digest,
        **{f"{PREFIX}source.{table}": artifact.digest for table, artifact in sorted(features.sources.items())},
    }
    return fit_tags(lineage, MAX_VERSION_TAG_CHARS)
