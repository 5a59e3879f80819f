"""The verbs about where work runs, as the parser wants them: name, help, module:function, further arguments."""

from __future__ import annotations

from typing import Any

_DAGS: tuple[str, dict[str, Any]] = (
    "--dags",
    {"default": None, "help": "folder or file with the DAG; default: Airflow's own setting"},
)

COMPUTE_VERBS: tuple[tuple[str, str, str, tuple[tuple[str, dict[str, Any]], ...]], ...] = (
    (
        "compute",
        "List the compute profiles, or print one.",
        "profiles:compute",
        (("name", {"nargs": "?", "default": None, "help": "of this profile only, with every option"}),),
    ),
    (
        "render",
        "Print what a task would send to the cluster or to AWS Batch, without either.",
        "render:render",
        (
            ("dag", {"nargs": "?", "default": "", "help": "id of the DAG"}),
            ("task", {"nargs": "?", "default": "", "help": "id of the task; of a sweep the name of its group"}),
            ("--compute", {"default": None, "help": "another profile than the task's own"}),
            ("--calls", {"type": int, "default": 0, "help": "calls of the job; default: 1, of a sweep max_shards"}),
            _DAGS,
        ),
    ),
)
