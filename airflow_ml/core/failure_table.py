"""The one table of why a call elsewhere ended without success: what happened, whether trying again can help, what can.

Pods, Batch children and exit codes are told apart elsewhere; what is found is always the name of a row of here.
"""

from __future__ import annotations

from dataclasses import dataclass

_AGAIN = "Nothing: it is begun again."
_LOG = "See the index's log."


@dataclass(frozen=True, slots=True)
class Reason:
    """A row of the table."""

    name: str
    #: What happened, for the reference.
    meaning: str
    #: What the reader can do.
    remedy: str
    #: Whether the same call, unchanged, can succeed the next time.
    retryable: bool = False
    #: Whether the place was at fault and not the call; such an end is not counted against the call's retries.
    disruption: bool = False


#: What the same call meets again, until somebody changes something.
_FINAL = (
    Reason("user_error", "the function raised, or its process ended with a code of its own", _LOG),
    Reason(
        "out_of_memory",
        "the process took more memory than its limit and was killed",
        "Raise memory_gib of the profile, or set max_memory_gib and retry_policy=GpuRetryPolicy().",
    ),
    Reason(
        "shared_memory",
        "the folder of shared memory, `/dev/shm`, was full: a bus error, or the limit of the volume",
        "Raise shm_gib of the profile, or use fewer data loader workers.",
    ),
    Reason("disk_full", "the process wrote more scratch files than its limit", "Raise ephemeral_gib of the profile."),
    Reason(
        "timeout",
        "the index took longer than it may",
        "Raise timeout_seconds of the profile, or lower calls_per_index; with checkpoints, clear the task to go on.",
    ),
    Reason("bad_input", "the work itself cannot be read", "Clear the task that made it; the log names what is wrong."),
    Reason(
        "wrong_platform",
        "the image has another Python, machine or packages than the call needs",
        "Use an image that has what the log names.",
    ),
    Reason(
        "image_pull",
        "the image cannot be pulled",
        "Check image and image_pull_secrets of the profile, and that the nodes reach the registry.",
    ),
    Reason(
        "start_error",
        "the container cannot be created, or its command cannot be run",
        "Check the secrets, claims and python that the profile names.",
    ),
    Reason(
        "unschedulable",
        "no node took the pod, or no instance the job, for as long as it may wait",
        "Ask for less, wait longer (schedule_timeout_seconds), or add nodes; see airflow-ml doctor.",
    ),
    Reason(
        "quota",
        "a quota of the namespace does not allow another pod",
        "Lower parallelism or the resources of the profile, or raise the quota.",
    ),
    Reason(
        "refused",
        "the platform does not accept it: a policy, a missing service account, or missing rights",
        "Do what the message says; airflow-ml doctor checks the rights.",
    ),
    Reason(
        "cancelled",
        "somebody ended it, or its job ended before it did",
        "Clear the task to run what is missing.",
    ),
)

#: What another try can get past.
_PASSING = (
    Reason("evicted", "the node was short of something, or is being emptied", _AGAIN, True, True),
    Reason(
        "preempted",
        "something more urgent, or the spot market, took the place",
        'Nothing: it is begun again; spot = "never" keeps it off the spot market.',
        True,
        True,
    ),
    Reason("node_lost", "the node is gone or shut down", _AGAIN, True, True),
    Reason("node_refused", "the node could not give what the scheduler had promised", _AGAIN, True, True),
    Reason("stopped", "it was told to end, and ended in good order", _AGAIN, True, True),
    Reason(
        "store_away", "the artifact store could not be reached from there", "Check it with airflow-ml doctor.", True
    ),
    Reason("no_result", "it ended well, and its result is not in the store", _LOG, True),
    Reason("killed", "it was killed by a signal, and nothing says by whom", "See the log, and the node's.", True),
    Reason("runtime_error", "airflow-ml's own part failed there", _LOG, True),
    Reason("lost", "nobody knows the job any more, and results are missing", "See who removed it.", True),
)

#: The table, by name.
REASONS = {row.name: row for row in (*_FINAL, *_PASSING)}
