"""The verb ``reproduce``: a task of production, run here from what the store has."""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from airflow_ml.cli.attempts import attempts_of, one_attempt
from airflow_ml.cli.output import print_json
from airflow_ml.cli.place import open_place
from airflow_ml.client import find_run
from airflow_ml.core.comparison import DIFFERENT, EQUIVALENT

#: Exit code when what came here is not what was recorded.
EXIT_DIFFERENT = 3


def reproduce(options: argparse.Namespace) -> int:
    """Run the task here and say how its result agrees with what was recorded."""
    from airflow_ml.runtime.reproduce import Debugged, Place, Reproduction, reproduce_call, reproduce_trial

    store = open_place(options)
    run = find_run(options.dag, options.run, store=store, namespace=options.namespace)
    found: Reproduction
    with _folder(options.keep) as folder:
        place = Place(into=folder, log=_say, locked=options.env == "locked", debug=options.pdb)
        try:
            if options.trial is not None:
                attempts = attempts_of(run, options.task, options.map_index)
                found = reproduce_trial(attempts, options.trial, store, place)
            else:
                found = reproduce_call(one_attempt(run, options.task, options.map_index), store, place)
        except Debugged as ended:
            return int(ended.args[0])
    agreed = found.comparison
    if options.output == "json":
        print_json(
            {
                "what": found.what,
                "verdict": agreed.verdict,
                "largest_difference": agreed.largest_difference if agreed.verdict != DIFFERENT else None,
                "where": agreed.where,
                "recorded": found.recorded,
                "here": found.here,
                "notes": list(found.notes),
            }
        )
    else:
        largest = f", largest difference {agreed.largest_difference:.2g}" if agreed.verdict == EQUIVALENT else ""
        print(f"{agreed.verdict}{largest}: {found.what}")
        for line in (agreed.where, f"recorded: {found.recorded}", f"here:     {found.here}", *found.notes):
            if line:
                print(f"  {line}")
    return EXIT_DIFFERENT if agreed.verdict == DIFFERENT else 0


@contextlib.contextmanager
def _folder(keep: str | None) -> Iterator[Path]:
    if keep is not None:
        Path(keep).mkdir(parents=True, exist_ok=True)
        yield Path(keep).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="airflow-ml-reproduce-") as folder:
        yield Path(folder)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
