"""The same verbs under ``airflow ml``; Airflow's own CLI asks for them through the provider info."""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys

from airflow.cli.cli_config import ActionCommand, Arg, CLICommand

from airflow_ml.cli.main import VERBS


def get_commands() -> list[CLICommand]:
    """Return ``airflow ml``, which hands everything behind it to ``airflow-ml``."""
    return [
        ActionCommand(
            name="ml",
            help="Machine learning: what the artifact store holds (see airflow-ml --help)",
            func=_run,
            args=(
                Arg(  # type: ignore[no-untyped-call]
                    ("verb",),
                    help=", ".join(name for name, *_ in VERBS),
                    nargs="?",
                    default="--help",
                ),
                Arg(  # type: ignore[no-untyped-call]
                    ("rest",), help="arguments of the verb", nargs=argparse.REMAINDER
                ),
            ),
        )
    ]


def _run(options: argparse.Namespace) -> None:
    import os

    from airflow.configuration import conf

    from airflow_ml.cli.main import main
    from airflow_ml.hooks.store import address_and_credentials

    uri = conf.get("ml", "artifact_store", fallback="")
    if uri:
        # The verbs know no connections: they get the address alone, and what opens it as variables of its client.
        # Airflow's CLI logs to standard output; what libraries say on the way is not the verb's answer.
        logging.disable(logging.INFO)
        with contextlib.redirect_stdout(sys.stderr):
            address, credentials = address_and_credentials(uri)
        os.environ.update({"AIRFLOW__ML__ARTIFACT_STORE": address, **credentials})
    if options.verb == "reap":
        from airflow_ml.cli import reap
        from airflow_ml.hooks.job_backend import job_backend
        from airflow_ml.plugin.airflow_state import final_state

        reap.airflow_side = reap.AirflowSide(backend=job_backend, final_state=final_state)
    if options.verb == "doctor":
        from airflow_ml.cli import doctor
        from airflow_ml.hooks.connection_checks import examine_connections

        doctor.airflow_side = examine_connections
    os.environ.setdefault("AIRFLOW__ML__COMPUTE_PROFILES", conf.get("ml", "compute_profiles", fallback=""))
    sys.exit(main([options.verb, *options.rest]))
