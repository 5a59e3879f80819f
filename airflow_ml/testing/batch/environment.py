"""What an attempt's process gets: its environment, and where its mounts are on this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from airflow_ml.testing.batch.job import Job, Submission
from airflow_ml.testing.processes.paths import Paths


def environment_of(
    job: Job, base: Path, paths: Paths, image_env: Mapping[str, str], secret: Callable[[str], str]
) -> dict[str, str]:
    """Return the whole environment: the image's, the definition's, the job's and Batch's own; nothing of this one's."""
    submission = job.submission
    declared = {one["name"]: str(one["value"]) for one in submission.container.get("environment") or []}
    for one in submission.container.get("secrets") or []:
        declared[one["name"]] = secret(one["valueFrom"])
    env = {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"]),
        "HOME": str(base / "root"),
        "TMPDIR": str(paths.temporary or base / "tmp"),
        "LANG": "C.UTF-8",
        **image_env,
        **{name: paths.rewrite(value) for name, value in declared.items()},
        "AWS_BATCH_JOB_ID": job.id,
        "AWS_BATCH_JOB_ATTEMPT": str(len(job.attempts) + 1),
        "AWS_BATCH_JQ_NAME": submission.queue_name,
        "AWS_BATCH_CE_NAME": "double",
    }
    if job.index is not None:
        env |= {"AWS_BATCH_JOB_ARRAY_INDEX": str(job.index), "AWS_BATCH_JOB_ARRAY_SIZE": str(submission.size)}
    return env


def paths_of(submission: Submission) -> Paths:
    """Return the rewriting of a container's mount points to the host paths of its volumes."""
    folders = {
        volume["name"]: Path(volume["host"]["sourcePath"])
        for volume in submission.container.get("volumes") or []
        if (volume.get("host") or {}).get("sourcePath")
    }
    mounts = [one for one in submission.container.get("mountPoints") or [] if one["sourceVolume"] in folders]
    return Paths([(one["containerPath"], folders[one["sourceVolume"]]) for one in mounts])
