"""Verbs of ``airflow-ml``: look at what the store holds, hold, resume or stop a rollout, see where work runs."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any

from airflow_ml import __version__
from airflow_ml.cli.completion import COMPLETERS
from airflow_ml.cli.compute_verbs import COMPUTE_VERBS
from airflow_ml.cli.place import add_place
from airflow_ml.errors import AirflowMLError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb and return the exit code: 0 done, 1 an error that the message explains, 2 wrong usage,
    130 interrupted.
    """
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may stand here
        import argcomplete

        argcomplete.autocomplete(parser)
    options = parser.parse_args(arguments)
    try:
        home, _, name = options.verb.partition(":")
        run: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"airflow_ml.cli.{home}"), name)
        return run(options)
    except AirflowMLError as error:
        print(f"airflow-ml: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        return 0
    except KeyboardInterrupt:
        return 130


def build_parser(parser: argparse.ArgumentParser | None = None) -> argparse.ArgumentParser:
    """Return the parser of all verbs, or add them to a given one."""
    parser = parser or argparse.ArgumentParser(prog="airflow-ml", description="Machine learning on Airflow.")
    parser.add_argument("--version", action="version", version=f"airflow-ml {__version__}")
    verbs = parser.add_subparsers(title="verbs", required=True)
    for name, text, home, extra in VERBS:
        verb = verbs.add_parser(name, help=text, description=text)
        add_place(verb)
        for flag, settings in extra:
            action = verb.add_argument(flag, **settings)
            if flag in COMPLETERS:
                action.completer = COMPLETERS[flag]  # type: ignore[attr-defined]  # where argcomplete looks for it
        verb.set_defaults(verb=home)
    return parser


_TASK: tuple[tuple[str, dict[str, Any]], ...] = (
    ("dag", {"help": "id of the DAG"}),
    ("run", {"help": "id of the run or its beginning, latest, or before (the one before the latest)"}),
    ("task", {"help": "id of the task; of a sweep the name of its group"}),
)
_ACT: tuple[tuple[str, dict[str, Any]], ...] = (
    ("model", {"help": "name of the registered model"}),
    ("--why", {"required": True, "help": "the reason, for the record"}),
    ("--who", {"default": "", "help": "who does it, for the record; default: the user of this machine"}),
)
_ROUTER: tuple[str, dict[str, Any]] = (
    "--router",
    {
        "default": os.environ.get("AIRFLOW_ML_ROUTER_URL", ""),
        "help": "URL of the gateway; default: AIRFLOW_ML_ROUTER_URL, else AIRFLOW_CONN_<the rollout's router>. Its "
        "control token is in AIRFLOW_ML_ROUTER_TOKEN or that connection",
    },
)
#: Name, help, where the verb is (module:function below airflow_ml.cli), further arguments.
VERBS: tuple[tuple[str, str, str, tuple[tuple[str, dict[str, Any]], ...]], ...] = (
    (
        "runs",
        "List runs, newest first.",
        "runs:runs",
        (
            ("dag", {"nargs": "?", "default": None, "help": "of this DAG only"}),
            ("--limit", {"type": int, "default": 20, "help": "at most so many; default: 20"}),
        ),
    ),
    (
        "show",
        "Print a run and its tasks, or a record by its ref.",
        "runs:show",
        (
            ("ref", {"help": "for example flight_delays_train/latest or models/prod/flight_delays"}),
            ("--entry", {"type": int, "default": None, "help": "its number in the history; default: the newest"}),
        ),
    ),
    (
        "sweep",
        "Print how far the sweeps of a run are.",
        "sweep:sweep",
        (
            ("run", {"help": "DAG/RUN; RUN as an id or its beginning, latest, or before (the one before the latest)"}),
            ("--task", {"default": None, "help": "the sweep of this group, such as train; default: all of the run"}),
            ("--watch", {"action": "store_true", "help": "look again every two seconds until the leaderboard is made"}),
        ),
    ),
    (
        "lineage",
        "Print what a result was made from, or what was made from it.",
        "lineage:lineage",
        (
            ("what", {"help": "a digest or its first 8 digits, or a model such as flight_delays or flight_delays@3"}),
            ("--up", {"action": "store_true", "help": "what it was made from; the default"}),
            ("--down", {"action": "store_true", "help": "what was made from it"}),
            ("--graph", {"default": None, "metavar": "FILE", "help": "also write it as a picture, an SVG"}),
            ("--runs", {"type": int, "default": 100, "help": "how many of the newest runs to read; default: 100"}),
        ),
    ),
    (
        "diff",
        "Print what differs between two runs, tasks, model versions or artifacts, most probable cause first.",
        "diff:diff",
        (
            (
                "first",
                {
                    "help": "DAG/RUN or DAG/RUN/TASK (RUN: an id or its beginning, latest, or before), MODEL@VERSION, "
                    "an artifact's digest, or DAG/TASK@RUN for what a task returned"
                },
            ),
            ("second", {"help": "another one of the same kind"}),
            ("--no-data", {"action": "store_true", "help": "leave out the comparison of tables, column by column"}),
        ),
    ),
    (
        "why",
        "Say why the cache of a @task.ml task had its result or had it not.",
        "why:why",
        (
            *_TASK,
            ("--map-index", {"type": int, "default": None, "help": "position in a mapped task"}),
            ("--runs", {"type": int, "default": 200, "help": "how many runs before it to read; default: 200"}),
        ),
    ),
    (
        "reproduce",
        "Run a task of production here, from the store alone, and compare what comes of it.",
        "reproduce:reproduce",
        (
            *_TASK,
            ("--map-index", {"type": int, "default": None, "help": "position in a mapped task; of a sweep its shard"}),
            ("--trial", {"default": None, "help": "number or name of a sweep's trial, such as 17 or t00017"}),
            (
                "--env",
                {
                    "choices": ("current", "locked"),
                    "default": "current",
                    "help": "this Python's packages, or an environment with those of the record; default: current",
                },
            ),
            ("--pdb", {"action": "store_true", "help": "under the debugger: where it raises, else at its first line"}),
            ("--keep", {"default": None, "help": "folder that keeps code and data; default: a temporary one"}),
        ),
    ),
    (
        "notebook",
        "Write a notebook that loads what a task or a trial was given, with its code.",
        "notebook:notebook",
        (
            *_TASK,
            ("--map-index", {"type": int, "default": None, "help": "position in a mapped task"}),
            ("--trial", {"default": None, "help": "number or name of a sweep's trial, such as 17 or t00017"}),
            ("--into", {"default": None, "help": "the file; default: <dag>-<task>.ipynb here"}),
            ("--force", {"action": "store_true", "help": "replace a file of that name"}),
        ),
    ),
    (
        "refs",
        "List the named histories in the store.",
        "refs:refs",
        (("prefix", {"nargs": "?", "default": "", "help": "only those below this name"}),),
    ),
    ("rollouts", "List rollouts and their state.", "refs:rollouts", ()),
    ("hold", "Keep a rollout at its step until it is resumed; harm still ends it.", "rollout:hold", _ACT),
    ("resume", "Let a held rollout go on.", "rollout:resume", _ACT),
    (
        "promote",
        "Promote a rollout's challenger at its next look, without more evidence; harm still ends it.",
        "rollout:promote",
        (*_ACT, ("--arm", {"default": "", "help": "of several challengers: challenger, challenger-2 and so on"})),
    ),
    ("rollback", "Stop a rollout: back to the champion.", "rollout:rollback", (*_ACT, _ROUTER)),
    ("reconcile", "End the rollouts whose owner was lost.", "rollout:reconcile", (_ROUTER,)),
    (
        "fsck",
        "Check that the store's histories are whole and its blobs are what their digests say.",
        "store:fsck",
        (
            (
                "--slices",
                {"type": int, "default": None, "help": "read so many of 256 slices of blobs; default: all"},
            ),
            ("--minutes", {"type": float, "default": None, "help": "begin no slice after so long; default: no limit"}),
        ),
    ),
    (
        "gc",
        "Find blobs that nothing in the store names, and put them into its trash.",
        "store:gc",
        (
            ("--yes", {"action": "store_true", "help": "do it; without it, only say what would be done"}),
            ("--grace-days", {"type": float, "default": 7.0, "help": "leave what is younger; default: 7"}),
            ("--accept-lost", {"action": "store_true", "help": "let the files of folders go whose list is lost"}),
        ),
    ),
    *COMPUTE_VERBS,
)
