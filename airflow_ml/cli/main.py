"""Verbs of ``airflow-ml``: look at what the store holds."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from airflow_ml import __version__
from airflow_ml.errors import AirflowMLError, ArtifactNotFound, ConfigurationError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 1 an error that the message explains, 2 wrong usage."""
    options = build_parser().parse_args(arguments)
    try:
        run: Callable[[argparse.Namespace], int] = options.run
        return run(options)
    except AirflowMLError as error:
        print(f"airflow-ml: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0


def build_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """Return the parser of all verbs, or add them to a given one."""
    parser = parser or argparse.ArgumentParser(prog="airflow-ml", description="Machine learning on Airflow.")
    parser.add_argument("--version", action="version", version=f"airflow-ml {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True)
    for name, text, function, extra in VERBS:
        verb = verbs.add_parser(name, help=text, description=text)
        add_store_arguments(verb)
        for flag, settings in extra:
            verb.add_argument(flag, **settings)
        verb.set_defaults(run=function)
    return parser


def add_store_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments that every verb has."""
    parser.add_argument(
        "--store", default=os.environ.get("AIRFLOW__ML__ARTIFACT_STORE", ""),
        help="the artifact store; default: the environment variable AIRFLOW__ML__ARTIFACT_STORE",
    )  # fmt: skip
    parser.add_argument("--output", choices=("table", "json"), default="table", help="how to print; default: table")


def refs(options: argparse.Namespace) -> int:
    """Print the refs below a prefix with the number of their entries."""
    store = _store(options)
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
    _print(options, rows)
    return 0


def show(options: argparse.Namespace) -> int:
    """Print the newest entry of a ref, or one of its history."""
    store = _store(options)
    entries = [entry for entry in store.history(options.ref) if options.entry in (None, entry.sequence)]
    if not entries:
        raise ArtifactNotFound("No such entry", options.ref, "`airflow-ml refs` lists what there is.")
    print(json.dumps(entries[-1].value, indent=2, ensure_ascii=False))
    return 0


def rollouts(options: argparse.Namespace) -> int:
    """Print the newest state of each rollout."""
    store = _store(options)
    rows = []
    for name in store.refs("rollouts"):
        newest = store.latest(name)
        if newest is not None:
            value = newest.value
            rows.append(
                {key: value.get(key) for key in ("model", "namespace", "epoch", "state", "weight_percent", "reason")}
            )
    _print(options, rows)
    return 0


#: Name, help, function, further arguments.
VERBS: tuple[tuple[str, str, Callable[[argparse.Namespace], int], tuple[tuple[str, dict[str, Any]], ...]], ...] = (
    (
        "refs",
        "List the named histories in the store.",
        refs,
        (("prefix", {"nargs": "?", "default": "", "help": "only those below this name"}),),
    ),
    (
        "show",
        "Print a record by its ref.",
        show,
        (
            ("ref", {"help": "for example models/prod/flight_delays"}),
            ("--entry", {"type": int, "default": None, "help": "its number in the history; default: the newest"}),
        ),
    ),
    ("rollouts", "List rollouts and their state.", rollouts, ()),
)


def _store(options: argparse.Namespace) -> Any:
    from airflow_ml.adapters.object_store import open_store

    if not options.store:
        raise ConfigurationError(
            "No artifact store is given",
            "--store is empty",
            "Give --store, or set the environment variable AIRFLOW__ML__ARTIFACT_STORE.",
        )
    return open_store(options.store)


def _print(options: argparse.Namespace, rows: Iterable[Mapping[str, Any]]) -> None:
    found = list(rows)
    if options.output == "json":
        print(json.dumps(found, indent=2, ensure_ascii=False))
        return
    if not found:
        print("Nothing there.")
        return
    columns = list(found[0])
    cells = [columns, *([("" if row[name] is None else str(row[name])) for name in columns] for row in found)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
