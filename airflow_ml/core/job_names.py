"""Names, labels and annotations of remote jobs: short enough for every backend, different for every job."""

from __future__ import annotations

import re
import unicodedata

from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.job import JobRequest

#: Prefix of all labels and annotations.
PREFIX = "airflow-ml/"
#: Labels by which jobs are found again: whose they are, which job, which attempt.
MANAGED_BY, JOB, EPOCH = "app.kubernetes.io/managed-by", f"{PREFIX}job", f"{PREFIX}epoch"
#: Annotation with the fingerprint of the request: a job of the same name with another one is somebody else's.
REQUEST = f"{PREFIX}request"
#: A pod of an Indexed Job is called ``<job>-<index>-<five letters>``, and its host name is a DNS label of 63.
NAME_LENGTH = 63 - len("-99999-abcde")

_DIGEST_LENGTH = 10
_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_LOOKS_SHORTENED = re.compile(rf".*-[0-9a-f]{{{_DIGEST_LENGTH}}}")


def job_name(request: JobRequest) -> str:
    """Return the one name of an attempt's job: DAG and task for people, a digest of key and epoch for everybody else.

    At most 51 lower-case letters, digits and hyphens. The same attempt always has the same name, so that asking again
    finds what is there.
    """
    owner = request.owner
    readable = "-".join(owner[part] for part in ("dag", "task", "map_index") if owner.get(part))
    return shortened(readable or "job", digest_json([request.key, request.epoch]), NAME_LENGTH)


def job_labels(request: JobRequest) -> dict[str, str]:
    """Return the labels of a job and its pods: whose they are, shortened where they must be."""
    owner = {f"{PREFIX}{part}": label_value(text) for part, text in sorted(request.owner.items()) if text}
    return {MANAGED_BY: "airflow-ml", JOB: label_value(request.key), EPOCH: str(request.epoch), **owner}


def job_annotations(request: JobRequest) -> dict[str, str]:
    """Return the annotations of a job: the same names in full, and what it was asked to run."""
    owner = {f"{PREFIX}{part}": text for part, text in sorted(request.owner.items()) if text}
    return {
        **owner,
        f"{PREFIX}key": request.key,
        f"{PREFIX}profile": request.profile.name,
        REQUEST: request.fingerprint,
    }


def label_value(text: str) -> str:
    """Return a text as a label's value: itself where it can be one, else shortened and with a digest behind it.

    Two texts never share a value: what looks like a shortened one is shortened, too.
    """
    if _LABEL_VALUE.fullmatch(text) and not _LOOKS_SHORTENED.fullmatch(text):
        return text
    return shortened(text, digest_json(text), 63)


def shortened(text: str, digest: str, length: int) -> str:
    """Return the readable beginning of a text as a DNS label, and ten hex digits of a digest.

    Args:
        text: Any text; letters with accents lose them, all else becomes hyphens.
        digest: ``sha256:...`` of what must be told apart.
        length: Characters at most, 12 or more.
    """
    ascii_text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^a-z0-9]+", "-", ascii_text.lower()).strip("-")
    slug = slug if slug[:1].isalpha() else f"j-{slug}".rstrip("-")  # a DNS label of the older kind begins with a letter
    return f"{slug[: length - _DIGEST_LENGTH - 1].rstrip('-')}-{digest.partition(':')[2][:_DIGEST_LENGTH]}"
