"""Stage 6, registration: a model version with everything needed to reproduce it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from airflow_ml.core.aliases import CHALLENGER, PRODUCTION
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion(Record):
    """One version in the registry."""

    incidental: ClassVar[frozenset[str]] = frozenset({"made_by"})

    name: str
    version: str
    #: The tracking run that holds its metrics and files.
    run_id: str
    #: ``models:/<name>/<version>`` for the registry's own clients.
    model_uri: str
    #: The manifest of ``Selection.models``: what the models are, by digest.
    models: Artifact
    #: Digest of the model's content; two versions with the same digest are the same model.
    model_digest: str
    view: str
    view_digest: str
    view_definition: Artifact
    features: tuple[str, ...]
    metrics: Mapping[str, float] = field(default_factory=dict)
    alias: str = CHALLENGER
    namespace: str = PRODUCTION
    #: Who registered it: ``dag``, ``run`` and ``task``.
    made_by: Mapping[str, str] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
