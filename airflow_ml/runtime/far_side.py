"""One index of a job, in a pod or Batch child: run its lines of the work, store their results, leave a last message.

The contract is in ``core/far_side.py``. An index that is begun again, because its pod was evicted or because somebody
counted wrong, runs only what has no result yet, and nothing at all where its own result is there.
"""

from __future__ import annotations

import os
import platform
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path

from airflow_ml.core import far_side
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.far_side import IndexResult
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON, Record
from airflow_ml.errors import (
    AirflowMLError,
    ArtifactCorrupt,
    ArtifactNotFound,
    ConfigurationError,
    MissingDependency,
    RefConflict,
    WrongPlatform,
)
from airflow_ml.runtime.__main__ import Control
from airflow_ml.runtime.call import CallJob
from airflow_ml.runtime.calls import execute_calls
from airflow_ml.runtime.job import Progress, ShardJob
from airflow_ml.runtime.memory import peak_memory_bytes
from airflow_ml.runtime.pool import Pool, Stopped, end_orphans
from airflow_ml.runtime.processes import adopt_orphans
from airflow_ml.runtime.work import read_work

#: Results of one index are in its record up to this size, so that one read brings many of them.
RESULTS_BYTES = 512 * 1024
#: For a last checkpoint when the pod is told to end: less than Kubernetes' own 30 seconds.
STOP_SECONDS = 25.0
#: What macOS and Windows call the machines that Linux calls otherwise.
_SAME_MACHINE = {"arm64": "aarch64", "AMD64": "x86_64"}
#: Where Kubernetes reads a container's last words from, for the pod's status.
LAST_WORDS = Path("/dev/termination-log")


def main(variables: Mapping[str, str] = os.environ) -> int:
    """Run the index that the variables name and return the exit code; see ``core/far_side.py``."""
    try:
        _check_platform(variables)
        control = Control(None, None)
        adopt_orphans()
        try:
            _run(variables, control)
        finally:
            end_orphans()
    except Stopped:
        return far_side.STOPPED
    except (WrongPlatform, MissingDependency) as error:
        return _leave(far_side.WRONG_PLATFORM, error)
    except (ArtifactNotFound, ArtifactCorrupt) as error:
        return _leave(far_side.BAD_INPUT, error)
    except AirflowMLError as error:
        return _leave(far_side.TRY_AGAIN if error.retryable else far_side.BAD_INPUT, error)
    except Exception as error:  # a bug of ours or a client library's own error: the exit code must say which, at least
        traceback.print_exc()
        away = isinstance(error, OSError) or type(error).__module__.partition(".")[0] in ("botocore", "boto3")
        return _leave(far_side.TRY_AGAIN if away else far_side.FAILED, error)
    return far_side.DONE


def _run(variables: Mapping[str, str], control: Control) -> None:
    from airflow_ml.adapters.object_store import open_store

    job, epoch = _need(variables, far_side.JOB), far_side.number(variables, far_side.EPOCH)
    index = far_side.index_of(variables)
    size = far_side.number(variables, far_side.CALLS_PER_INDEX, 1)
    store = open_store(_need(variables, far_side.STORE))
    ref = far_side.index_ref(job, epoch, index)
    if store.latest(ref) is not None:
        _say(f"Index {index} of {job} is done already")
        return

    def watch(pool: Pool) -> None:
        pool.stop_seconds = STOP_SECONDS
        control.watch(pool)

    began = time.monotonic()
    work = Artifact(digest=_need(variables, far_side.WORK), format="jsonl.gz", size_bytes=0, uri="")
    jobs = read_work(store.get_bytes(work), first=index * size, count=size)
    facts: dict[str, JSON] = {"job": job, "epoch": epoch, "index": index}
    results: list[Record] = []
    calls: list[CallJob] = []
    for item in jobs:
        if isinstance(item, ShardJob):
            from airflow_ml.runtime.shard import execute_shard  # with all of a sweep's modules, which a call needs not

            results.append(execute_shard(item, store, log=_say, on_progress=_log_progress, started=watch))
        else:
            calls.append(item)
    done = execute_calls(calls, store, facts=facts, log=_say, started=watch) if calls else []
    result = IndexResult(
        job=job,
        epoch=epoch,
        index=index,
        calls=len(jobs),
        succeeded=len(results) + sum(item.status == "succeeded" for item in done),
        results=_small([*results, *done]),
        seconds=round(time.monotonic() - began, 3),
        host=platform.node(),
        peak_memory_bytes=peak_memory_bytes(),
    )
    _commit(result, store, ref)
    _say(f"Index {index}: {result.succeeded} of {result.calls} succeeded in {result.seconds:.1f} s")


def _commit(result: IndexResult, store: ArtifactStore, ref: str) -> None:
    try:
        store.append(ref, result.to_dict(), after=0)
    except RefConflict:
        _say(f"Index {result.index} was finished by another process; that result counts")


def _small(results: Sequence[Record]) -> tuple[JSON, ...]:
    """Return results in wire form, None for each that would make the whole too large."""
    left = RESULTS_BYTES
    found: list[JSON] = []
    for result in results:
        wire = result.to_dict()
        size = len(canonical_json(wire))
        found.append(wire if size <= left else None)
        left -= size if size <= left else 0
    return tuple(found)


def _check_platform(variables: Mapping[str, str]) -> None:
    """Raises WrongPlatform where this is not what the calls were made for."""
    here = {
        far_side.PYTHON: f"{sys.version_info[0]}.{sys.version_info[1]}",
        far_side.MACHINE: platform.machine(),
    }
    wanted = {name: variables.get(name) or value for name, value in here.items()}
    if any(_SAME_MACHINE.get(wanted[name], wanted[name]) != _SAME_MACHINE.get(here[name], here[name]) for name in here):
        raise WrongPlatform(
            "The image and the calls are not made for each other",
            f"the image has Python {here[far_side.PYTHON]} on {here[far_side.MACHINE]}, the calls were made with "
            f"Python {wanted[far_side.PYTHON]} on {wanted[far_side.MACHINE]}",
            "Use an image with the workers' Python and architecture, or workers with the image's.",
        )


def _need(variables: Mapping[str, str], name: str) -> str:
    if not variables.get(name):
        raise ConfigurationError("A variable of the job is missing", name, "Start it with what render shows.")
    return variables[name]


def _leave(code: int, error: Exception) -> int:
    text = str(error) if isinstance(error, AirflowMLError) else f"{type(error).__name__}: {error}"
    print(f"airflow-ml: {text}", file=sys.stderr, flush=True)  # noqa: T201 - the container's log
    if LAST_WORDS.is_file():
        LAST_WORDS.write_text(text[:4000], encoding="utf-8")
    return code


def _log_progress(progress: Progress) -> None:
    _say(f"Shard {progress.shard}: {progress.finished} of {progress.trials} trials, {progress.failed} failed")


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - the container's log
