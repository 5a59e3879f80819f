"""What a task reports to OpenLineage, if that provider is installed: records as datasets, provenance as a facet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from airflow_ml.core.provenance import Handle, Provenance, find_records


def lineage_of(record: Provenance, store_uri: str) -> Any:
    """Return an ``OperatorLineage`` of one attempt.

    A dataset is named by its content's digest, so that what one task returns and another takes is the same node. An
    address of a store is without its connection.
    """
    import attr
    from airflow.providers.openlineage.extractors import OperatorLineage
    from openlineage.client.event_v2 import InputDataset, OutputDataset
    from openlineage.client.facet_v2 import RunFacet, error_message_run

    @attr.define
    class AirflowMLRunFacet(RunFacet):
        """Where a result comes from."""

        provenance: dict[str, Any]

    run_facets: dict[str, Any] = {"airflow_ml": AirflowMLRunFacet(provenance=_facet(record))}
    if record.error:
        run_facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            message=record.error, programmingLanguage="python"
        )
    return OperatorLineage(
        inputs=[InputDataset(namespace=store_uri, name=_name(one), facets=_facets(one)) for one in record.inputs],
        outputs=[OutputDataset(namespace=store_uri, name=_name(one), facets=_facets(one)) for one in record.outputs],
        run_facets=run_facets,
        job_facets={},
    )


def without_connection(uri: str) -> str:
    """Return a store's address without the Airflow connection in it."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('@')[2] or rest}" if rest else uri


def _name(handle: Handle) -> str:
    return f"{handle.record}/{handle.digest.partition(':')[2]}"


def _facet(record: Provenance) -> dict[str, Any]:
    return {
        "dag": record.dag,
        "run": record.run,
        "task": record.title,
        "namespace": record.namespace,
        "operator": record.operator,
        "outcome": record.outcome,
        "git": {"commit": record.git.commit, "branch": record.git.branch, "dirty": record.git.dirty},
        "bundle": record.bundle,
        "bundleVersion": record.bundle_version,
        "image": record.image,
        "python": record.python,
        "environment": record.environment,
        "function": record.function.qualname if record.function is not None else "",
        "code": record.function.digest if record.function is not None else "",
        "call": record.call.key if record.call is not None else "",
        "cache": record.cache,
        "seed": record.seed,
        "params": dict(record.params),
        "statements": list(record.statements),
        "triggeredBy": record.triggered_by,
    }


def _facets(handle: Handle) -> dict[str, Any]:
    from openlineage.client.facet_v2 import dataset_version_dataset, schema_dataset

    facets: dict[str, Any] = {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=handle.digest)
    }
    columns = next(_columns(handle.value), None)
    if columns:
        fields = [schema_dataset.SchemaDatasetFacetFields(name=one["name"], type=one["dtype"]) for one in columns]
        facets["schema"] = schema_dataset.SchemaDatasetFacet(fields=fields)
    return facets


def _columns(value: Any) -> Iterator[list[Mapping[str, Any]]]:
    for wire in find_records("Artifact", value):
        if wire.get("columns"):
            yield list(wire["columns"])
