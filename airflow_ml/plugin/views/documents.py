"""JSON documents that records point to: a gate's whole report, a model's signature, a feature view."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.gate import GateReport
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance
from airflow_ml.core.record import JSON, encode
from airflow_ml.core.registration import ModelVersion
from airflow_ml.errors import AirflowMLError, ArtifactCorrupt
from airflow_ml.plugin.views.lru import Lru
from airflow_ml.plugin.views.records import first_record
from airflow_ml.plugin.views.summary import gate_row
from airflow_ml.plugin.views.tables import check_size

#: A document above this size is not for a page.
_LARGEST_BYTES = 4 * 1024 * 1024
_CHECKS = 500
_documents: Lru[Any] = Lru(32)


def read_json(store: ArtifactStore, artifact: Artifact) -> Any:
    """Return a JSON artifact's value.

    Raises:
        ArtifactNotFound: the store has lost it.
        ArtifactCorrupt: it is no JSON, or far too large.
        DataTooLarge: it is too large.
    """
    check_size(artifact)
    if artifact.size_bytes > _LARGEST_BYTES:
        raise ArtifactCorrupt("The document is too large for a page", f"{artifact.size_bytes:,} bytes")

    def read() -> Any:
        try:
            return json.loads(store.get_bytes(artifact))
        except ValueError as error:
            raise ArtifactCorrupt("The document is no JSON", str(error)[:200], "Make it again.") from error

    return _documents.get((store.uri, artifact.digest), read)


def gate_detail(store: ArtifactStore, item: Provenance) -> dict[str, Any] | None:
    """Return a gate's report with all of its checks where they can be read; None where the task made none."""
    report = first_record(item.beside, GateReport)
    if report is None:
        return None
    row = gate_row(item, report)
    row.pop("subject")
    return {**row, "checks": _checks(store, report)}


def signature_of(store: ArtifactStore, record: ModelVersion) -> dict[str, Any] | None:
    """Return what a model takes and gives, as its manifest says: text for features with categories, else numbers."""
    manifest = read_json(store, record.models)
    if not isinstance(manifest, Mapping):
        return None
    text = manifest.get("categories")
    texts = set(text) if isinstance(text, Mapping) else set()
    return {
        "inputs": [{"name": name, "dtype": "string" if name in texts else "double"} for name in record.features],
        "outputs": [{"name": "score", "dtype": "double"}],
    }


def feature_view_of(store: ArtifactStore, record: ModelVersion) -> JSON:
    """Return a version's feature view as JSON."""
    found: JSON = read_json(store, record.view_definition)
    return found


def _checks(store: ArtifactStore, report: GateReport) -> list[Any]:
    """Return all checks; the most telling ones where the whole report is lost, or another library wrote it."""
    found: Any = None
    if report.report is not None:
        try:
            found = read_json(store, report.report)
        except (AirflowMLError, OSError):
            found = None
    rows = found.get("checks") if isinstance(found, Mapping) else None
    if not isinstance(rows, list) or not all(isinstance(row, Mapping) and "passed" in row for row in rows):
        rows = _from_suite(found) or encode(report.checks)
    return [_check(row) for row in rows if isinstance(row, Mapping)][:_CHECKS] if isinstance(rows, list) else []


def _check(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": str(row.get("name", "")),
        "severity": str(row.get("severity", "critical")),
        "passed": row.get("passed") is True,
        "observed": row.get("observed"),
        "expected": str(row.get("expected", "")),
        "unexpected_rows": row.get("unexpected_rows"),
    }


def _from_suite(found: Any) -> list[dict[str, Any]]:
    """Return the checks of a dataset gate's details, as the validator wrote them: JSON, never a library's HTML."""
    results = found.get("results") if isinstance(found, Mapping) else None
    rows = []
    for one in results if isinstance(results, list) else []:
        if not isinstance(one, Mapping):
            continue
        kwargs, figures = (
            value if isinstance(value, Mapping) else {} for value in (one.get("kwargs"), one.get("figures"))
        )
        column = kwargs.get("column") or ", ".join(map(str, kwargs.get("column_list") or ()))
        rules = {key: value for key, value in kwargs.items() if key not in ("column", "column_list")}
        rows.append(
            {
                "name": f"{one.get('type', '')}({column})" if column else str(one.get("type", "")),
                "severity": str(one.get("severity") or "critical"),
                "passed": one.get("passed") is True,
                "observed": one.get("observed"),
                "expected": json.dumps(rules, ensure_ascii=False, default=str)[:300] if rules else "",
                "unexpected_rows": figures.get("unexpected_count"),
            }
        )
    return rows
