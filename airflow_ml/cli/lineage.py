"""The verb ``lineage``: what a result was made from, and what was made from it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.client import Run, runs
from airflow_ml.core.lineage import Lineage
from airflow_ml.core.lineage_picture import lineage_picture
from airflow_ml.core.provenance import Provenance
from airflow_ml.errors import ArtifactNotFound, ConfigurationError

#: Runs that a way up reads at first; it reads more where it does not end in them.
_FIRST_RUNS = 20


def lineage(options: argparse.Namespace) -> int:
    """Print the records up or down from a digest or a model, with the tasks that made them."""
    if options.up and options.down:
        raise ConfigurationError("Both directions are given", "--up and --down", "Ask for one at a time.")
    store = open_place(options)
    known = runs(store=store, namespace=options.namespace, limit=options.runs)
    attempts: list[Provenance] = []
    for few in _parts(known, one=options.down):
        attempts += [item for run in few for item in run.attempts()]
        graph, is_last = Lineage(attempts), few[-1:] == known[-1:]
        try:
            digest = graph.find(options.what)
        except ArtifactNotFound as error:
            if not is_last:
                continue
            if len(known) < options.runs:
                raise
            where = f"{options.what}, in the newest {options.runs} runs"
            raise ArtifactNotFound(error.what, where, f"Give --runs to look further back. {error.remedy}") from None
        steps = list(graph.down(digest) if options.down else graph.up(digest))
        if is_last or graph.is_whole(steps):
            break
    if options.graph is not None:
        title = f"{'What was made from' if options.down else 'What made'} {options.what}"
        Path(options.graph).write_text(lineage_picture(steps, graph.edges(steps), title=title), encoding="utf-8")
        print(f"{options.graph}: {len(steps)} records", file=sys.stderr)
    print_rows(
        options,
        [
            {
                "depth": step.depth,
                "record": step.record,
                "digest": step.digest,
                "dag": step.made_by.dag,
                "run": step.made_by.run,
                "task": step.made_by.title,
                "commit": step.made_by.git.commit[:12],
            }
            for step in steps
        ],
    )
    return 0


def _parts(known: list[Run], *, one: bool) -> Iterator[list[Run]]:
    """Yield the runs in parts that become larger, newest first: most causes are in the newest few."""
    begin, count = 0, len(known) if one else _FIRST_RUNS
    while begin < len(known) or not begin:
        yield known[begin : begin + count]
        begin, count = begin + max(count, 1), 2 * count
