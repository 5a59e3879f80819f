"""What only a compute profile of kind ``batch`` knows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_ml.core.record import JSON
from airflow_ml.core.strict_fields import bounds, read_fields
from airflow_ml.core.variables import refuse_secrets, refuse_taken
from airflow_ml.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """Options of the table ``[<profile>.batch]``."""

    #: Name or ARN of the job queue.
    queue: str = bounds(pattern=r"[A-Za-z0-9:/_-]{1,512}", meant="a queue's name or ARN")
    #: Name, name:revision or ARN of the job definition, which holds image, roles and secrets.
    job_definition: str = bounds(pattern=r"[A-Za-z0-9:/_.-]{1,512}", meant="a job definition's name or ARN")
    #: Airflow connection of the account.
    conn_id: str = "aws_default"
    #: AWS region; None for the connection's.
    region: str | None = bounds(None, pattern=r"[a-z]{2}(-[a-z]+)+-\d", meant="a region such as eu-central-1")
    #: For a queue with fair-share scheduling.
    share_identifier: str | None = bounds(
        None, pattern=r"[A-Za-z0-9]{1,254}\*?|[A-Za-z0-9]{1,255}", meant="a share identifier: letters and digits"
    )
    #: Priority within the share, 0 to 9999; needs ``share_identifier``.
    scheduling_priority: int | None = bounds(None, least=0, most=9999)
    #: Variables of the container, for everybody to see; secrets are in the job definition.
    env: Mapping[str, str] = bounds(factory=dict)
    #: Tags of the jobs, beside those of airflow-ml; at most 40.
    tags: Mapping[str, str] = bounds(factory=dict)
    #: How long a job may wait for an instance before the task says so and fails; not counted as a try.
    schedule_timeout_seconds: float = bounds(3600.0, above=0)

    @classmethod
    def read(cls, options: Mapping[str, JSON], *, where: str) -> BatchOptions:
        """Return the options of a profile.

        Raises:
            ConfigurationError: one of them cannot work; the message names it.
        """
        read = read_fields(cls, options, where=where)
        refuse_taken(read.env, where=f"{where}: env")
        refuse_secrets(read.env, where=f"{where}: env", remedy="Write it under secrets of the job definition.")
        if len(read.tags) > 40:
            raise ConfigurationError(f"{where}: too many tags", len(read.tags), "AWS takes 50, ten of them are ours.")
        if read.scheduling_priority is not None and read.share_identifier is None:
            raise ConfigurationError(
                f"{where}: scheduling_priority needs a share", read.scheduling_priority, "Give share_identifier."
            )
        return read
