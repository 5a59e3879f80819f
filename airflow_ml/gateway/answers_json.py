"""The answers to a batch as JSON, in the form in which it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_ml.core.record import JSON
from airflow_ml.gateway.batch import Batch
from airflow_ml.gateway.scoring import Answers


def answers_to_wire(batch: Batch, answers: Answers) -> Mapping[str, Any]:
    """Return ``{"rows": [...]}`` for rows and ``{"keys": [...], "scores": [...], ...}`` for columns, in their order.

    Why a row has no score is its ``error``; why the champion stood in is its ``fallback``. In columns these are lists
    ``errors`` and ``fallbacks`` of ``{"row": index, "reason": text}``.
    """
    if not batch.columnar:
        return {"rows": _rows(batch, answers)}
    errors: list[JSON] = []
    fallbacks: list[JSON] = []
    for index, reason in answers.reasons.items():
        (errors if answers.scores[index] is None else fallbacks).append({"row": index, "reason": reason})
    return {
        "epoch": answers.epoch,
        "keys": batch.keys,
        "scores": answers.scores,
        "variants": answers.variants,
        "versions": answers.versions,
        "fallbacks": fallbacks,
        "errors": errors,
    }


def _rows(batch: Batch, answers: Answers) -> list[dict[str, JSON]]:
    versions, epoch = answers.versions, answers.epoch
    rows: list[dict[str, JSON]] = [
        {"key": key, "score": score, "variant": variant, "version": versions[variant], "epoch": epoch}
        for key, score, variant in zip(batch.keys, answers.scores, answers.variants, strict=True)
    ]
    for index, reason in answers.reasons.items():
        rows[index]["error" if answers.scores[index] is None else "fallback"] = reason
    return rows
