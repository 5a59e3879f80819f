"""The verb ``diff``: what differs between two runs, most probable cause first."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Iterator, Sequence
from typing import Any

from airflow_ml.cli.output import print_json, print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.cli.runs import addressed_run
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.code_text import code_diff
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.provenance import Provenance, find_records
from airflow_ml.core.run_diff import diff_runs


def diff(options: argparse.Namespace) -> int:
    """Print the differences of two runs, and the changed code."""
    store = open_place(options)
    first, second = (
        list(addressed_run(address, store, options.namespace).attempts()) for address in (options.first, options.second)
    )
    changes = [dataclasses.asdict(change) for change in diff_runs(first, second)]
    code = list(_code(first, second, store))
    if options.output == "json":
        print_json({"changes": changes, "code": code})
        return 0
    if not changes:
        print("No difference.")
        return 0
    print_rows(options, changes)
    for line in code:
        print(line)
    return 0


def _code(first: Sequence[Provenance], second: Sequence[Provenance], store: ArtifactStore) -> Iterator[str]:
    """Yield unified diffs of the functions that both runs have and that differ."""
    before, after = _packages(first), _packages(second)
    for name in sorted({*before} & {*after}):
        if before[name].digest != after[name].digest:
            old, new = (json.loads(store.get_bytes(packages[name])) for packages in (before, after))
            yield from code_diff(old, new)


def _packages(attempts: Sequence[Provenance]) -> dict[str, Artifact]:
    found: dict[str, Artifact] = {}
    for item in attempts:
        wires: list[Any] = [handle.value for handle in (*item.outputs, *item.inputs)]
        if item.function is not None:
            wires.append(item.function.to_dict())
        for wire in find_records("FunctionRef", wires):
            if wire.get("package") is not None:
                found.setdefault(str(wire["qualname"]), Artifact.from_dict(wire["package"]))
    return found
