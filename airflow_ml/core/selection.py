"""Stage 5, selection: the winner of each group, with the reason, refitted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import JSON, Record


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection(Record):
    """The chosen parameters of each group and the models refitted with them."""

    #: The leaderboard's sweep.
    sweep: str
    metric: str
    direction: str
    #: Mean of the winners' metric over groups, weighted by their validate rows.
    value: float
    reason: str
    #: JSON manifest ``{"by": column or null, "features": [...], "members": {group: {"params", "trial", "value", "rows",
    #: "model": Artifact}}, "pooled": {...} or null}``; ``pooled`` answers for groups never seen in training.
    models: Artifact
    #: The leaderboard's own artifact, so that the registry can show it.
    leaderboard: Artifact
    #: What the winners were refitted on: ``none``, ``train`` or ``train+validate``.
    refit: str
    groups: int
    #: The FeatureSet in wire form.
    data: Mapping[str, JSON]
    code_digest: str
    parents: tuple[str, ...] = ()
