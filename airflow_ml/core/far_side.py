"""The contract between the submitter of a job and the process that runs one index of it, far from Airflow.

A pod or Batch child gets its work by environment variables alone: where the store is, which blob is the runtime, which
blob is the work. It needs Python and the user's libraries; the runtime arrives from the store, checked by its digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.job import JobRequest
from airflow_ml.core.record import JSON, Record
from airflow_ml.errors import ConfigurationError

#: Address of the artifact store.
STORE = "AIRFLOW_ML_STORE"
#: Digest of the runtime, a zip archive of Python modules.
RUNTIME = "AIRFLOW_ML_RUNTIME"
#: Digest of the work: JSON lines, one ``CallJob`` or ``ShardJob`` in wire form a line.
WORK = "AIRFLOW_ML_WORK"
#: Key and epoch of the job: with the index they name the place of the result.
JOB = "AIRFLOW_ML_JOB"
EPOCH = "AIRFLOW_ML_EPOCH"
CALLS_PER_INDEX = "AIRFLOW_ML_CALLS_PER_INDEX"
#: Index of the first child, where one request became several arrays.
FIRST_INDEX = "AIRFLOW_ML_FIRST_INDEX"
#: Python's minor version and the machine that the calls were made for, for example ``3.12`` and ``x86_64``.
PYTHON = "AIRFLOW_ML_PYTHON"
MACHINE = "AIRFLOW_ML_MACHINE"
#: Where a backend says which index this process is; with neither it is 0.
INDEX_VARIABLES = ("JOB_COMPLETION_INDEX", "AWS_BATCH_JOB_ARRAY_INDEX")

#: Exit codes. ``DONE``: each call has a result, of whatever kind. ``BAD_INPUT``: the work cannot be read, nor will it
#: be. ``WRONG_PLATFORM``: not the Python, machine or packages that it needs. ``FAILED``: the runtime itself failed.
#: ``TRY_AGAIN``: the store was away. ``STOPPED``: SIGTERM; what had ended is committed.
DONE, BAD_INPUT, WRONG_PLATFORM, FAILED, TRY_AGAIN, STOPPED = 0, 64, 69, 70, 75, 143
#: Codes after which the same index fails in the same way however often it is begun again.
FINAL_CODES = (BAD_INPUT, WRONG_PLATFORM)

#: The program given to ``python -c``: fetch the runtime, check it, run it. Standard library, and boto3 for S3.
BOOTSTRAP = f"""\
import hashlib, os, shutil, sys, tempfile, urllib.parse
def leave(code, text):
    print("airflow-ml: " + text, file=sys.stderr, flush=True)
    shutil.rmtree(scratch, ignore_errors=True)
    os._exit(code)
scratch = tempfile.mkdtemp(prefix="airflow-ml-")
if sys.version_info < (3, 11):
    leave({WRONG_PLATFORM}, "the image has Python %d.%d, the runtime needs 3.11 or newer" % sys.version_info[:2])
store, digest = os.environ.get("{STORE}", ""), os.environ.get("{RUNTIME}", "").rpartition(":")[2]
place, blob = urllib.parse.urlsplit(store), "blobs/sha256/" + digest[:2] + "/" + digest[2:]
archive = os.path.join(scratch, "runtime.zip")
try:
    if place.scheme == "s3":
        import boto3
        key = "/".join(part for part in (place.path.strip("/"), blob) if part)
        boto3.client("s3").download_file(place.hostname, key, archive)
    elif place.scheme in ("", "file"):
        shutil.copyfile(os.path.join(urllib.parse.unquote(place.path), blob), archive)
    else:
        leave({BAD_INPUT}, "no store of that kind: " + store)
    with open(archive, "rb") as file:
        found = hashlib.sha256(file.read()).hexdigest()
except ImportError as error:
    leave({WRONG_PLATFORM}, "the image lacks a package that the store %s needs: %s" % (store, error))
except Exception as error:
    leave({TRY_AGAIN}, "the runtime %s cannot be read from %s: %s: %s" % (digest, store, type(error).__name__, error))
if found != digest:
    leave({TRY_AGAIN}, "the runtime in %s has the digest %s instead of %s" % (store, found, digest))
sys.path = [archive] + [entry for entry in sys.path if entry]
from airflow_ml.runtime.far_side import main
code = main()
shutil.rmtree(scratch, ignore_errors=True)
sys.stdout.flush()
sys.stderr.flush()
os._exit(code)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexResult(Record):
    """The result of one index, written last: once it exists the index is done, even if its pod then fails."""

    job: str
    epoch: int
    index: int
    #: Lines of the work that this index had, and how many of them came to a success.
    calls: int
    succeeded: int
    #: The calls' results in wire form, in the order of the lines; None for one that is too large and only in its ref.
    results: tuple[JSON, ...] = ()
    seconds: float = 0.0
    #: Where it ran: pod or child, for the log.
    host: str = ""
    #: The most memory that any process of it had at once; 0 where it is not known.
    peak_memory_bytes: int = 0


def command(python: str = "python") -> list[str]:
    """Return the container's command."""
    return [python, "-c", BOOTSTRAP]


def environment(request: JobRequest, *, first_index: int = 0) -> dict[str, str]:
    """Return the variables of the far side, the same for each index.

    Args:
        request: The job.
        first_index: Index of the first child, where one request became several arrays.
    """
    found = {
        STORE: request.store_uri,
        RUNTIME: request.runtime.digest,
        WORK: request.work.digest,
        JOB: request.key,
        EPOCH: str(request.epoch),
        CALLS_PER_INDEX: str(max(1, request.profile.calls_per_index)),
    }
    if first_index:
        found[FIRST_INDEX] = str(first_index)
    if request.python:
        found[PYTHON] = request.python
    if request.machine:
        found[MACHINE] = request.machine
    return found


def index_of(variables: Mapping[str, str]) -> int:
    """Return which index a process is.

    Raises:
        ConfigurationError: a variable holds no number.
    """
    name = next((name for name in INDEX_VARIABLES if variables.get(name)), "")
    return number(variables, FIRST_INDEX, 0) + (number(variables, name, 0) if name else 0)


def number(variables: Mapping[str, str], name: str, default: int | None = None) -> int:
    """Return a variable's number, 0 or more.

    Raises:
        ConfigurationError: it is not set and has no default, or is no such number.
    """
    text = variables.get(name, "")
    if not text and default is not None:
        return default
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"The variable {name} is not a number", repr(text), "Submit the job again.")
    return int(text)


def job_ref(key: str) -> str:
    """Return the ref under which the attempts at a job are written, from its key of any form."""
    return f"jobs/{digest_json(key).partition(':')[2]}"


def index_ref(key: str, epoch: int, index: int) -> str:
    """Return the ref of one index's `IndexResult`."""
    return f"{job_ref(key)}/{epoch:06d}/{index:06d}"
