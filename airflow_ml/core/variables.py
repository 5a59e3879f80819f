"""Environment variables that a profile gives to user code elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterable

from airflow_ml.errors import ConfigurationError

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
#: Names that others set: Airflow, the far side, and what starts the process.
_TAKEN = ("AIRFLOW__", "AIRFLOW_ML_", "AIRFLOW_CONN_", "AIRFLOW_VAR_", "AWS_BATCH_", "JOB_COMPLETION_INDEX")
_SECRET = re.compile(
    r"(.*_)?(PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS?|(PRIVATE|SECRET|ACCESS|API|ACCOUNT)_KEY)",
    re.IGNORECASE,
)


def refuse_taken(names: Iterable[str], *, where: str) -> None:
    """Refuse what is not the name of a variable, or is reserved.

    Raises:
        ConfigurationError: naming the first such variable.
    """
    for name in names:
        if not _NAME.fullmatch(name) or name.startswith(_TAKEN):
            raise ConfigurationError(
                f"{where} cannot set the variable",
                name,
                "Use letters, digits and _; not a name of Airflow's or Batch's.",
            )


def refuse_secrets(names: Iterable[str], *, where: str, remedy: str) -> None:
    """Refuse names under which only secrets are kept: plain values are shown to everybody who may read the job.

    Raises:
        ConfigurationError: naming the first such variable.
    """
    for name in names:
        if _SECRET.fullmatch(name):
            raise ConfigurationError(f"{where} would show a secret", name, remedy)
