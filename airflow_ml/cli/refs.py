"""The verbs ``refs`` and ``rollouts``: what the store holds by name."""

from __future__ import annotations

import argparse

from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place


def refs(options: argparse.Namespace) -> int:
    """Print the refs below a prefix with the number of their entries."""
    store = open_place(options)
    rows = []
    for name in store.refs(options.prefix):
        newest = store.latest(name)
        rows.append(
            {
                "ref": name,
                "entries": newest.sequence if newest else 0,
                "record": newest.value.get("record") if newest else "",
            }
        )
    print_rows(options, rows)
    return 0


def rollouts(options: argparse.Namespace) -> int:
    """Print the newest state of each rollout."""
    store = open_place(options)
    rows = []
    for name in store.refs("rollouts"):
        newest = store.latest(name)
        if newest is not None:
            value = newest.value
            rows.append(
                {key: value.get(key) for key in ("model", "namespace", "epoch", "state", "weight_percent", "reason")}
            )
    print_rows(options, rows)
    return 0
