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
    (
        "run",
        "Run one task of a DAG here, with given inputs, and print what it returns.",
        "run_task:run",
        (
            ("dag", {"help": "id of the DAG"}),
            ("task", {"help": "id of the task; of a sweep the name of its group"}),
            ("--compute", {"default": None, "help": "another profile than the task's own, such as laptop"}),
            (
                "--set",
                {
                    "action": "append",
                    "default": [],
                    "metavar": "NAME=VALUE",
                    "dest": "settings",
                    "help": "an argument: JSON, text, or dag/task@run for an output of an earlier run",
                },
            ),
            _DAGS,
        ),
    ),
    (
        "doctor",
        "Check the installation and the store; with --compute whether calls could run: rights, quota, nodes, GPUs.",
        "doctor:doctor",
        (
            (
                "--compute",
                {"default": None, "metavar": "NAME", "help": "the profile; default: none"},
            ),
            ("--context", {"default": None, "help": "of the kubeconfig; default: its current one"}),
            ("--probe", {"action": "store_true", "help": "send one small call there as well, and wait for its result"}),
            ("--timeout", {"type": float, "default": 600.0, "help": "seconds to wait for it; default: 600"}),
            (
                "--policy",
                {"action": "store_true", "help": "print the least rights instead: RBAC, IAM, Snowflake grants"},
            ),
        ),
    ),
    (
        "reap",
        "Find the remote jobs that nobody waits for any more, and end them.",
        "reap:reap",
        (
            ("name", {"nargs": "?", "default": None, "help": "the place of this profile only; default: of all"}),
            ("--yes", {"action": "store_true", "help": "do it; without it, only say what would be done"}),
            ("--context", {"default": None, "help": "of the kubeconfig; default: its current one"}),
        ),
    ),
    (
        "cluster",
        "Run a Kubernetes cluster of this machine's processes, for a laptop and for tests, until Ctrl-C.",
        "cluster:cluster",
        (
            ("--local", {"action": "store_true", "help": "the only kind there is; asked for, since pods run as you"}),
            ("--gpus", {"type": int, "default": 0, "help": "GPUs that its node claims to have; default: 0"}),
            ("--pods", {"type": int, "default": 16, "help": "pods side by side; default: 16"}),
            ("--folder", {"default": None, "help": "for kubeconfig and logs; default: ~/.cache/airflow-ml/cluster"}),
            ("--port", {"type": int, "default": 0, "help": "TCP port on 127.0.0.1; default: a free one"}),
        ),
    ),
)
