"""Checks whether the artifact store can be used: from here by trying, from a remote job by what its profile says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from urllib.parse import unquote, urlsplit

from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.compute_choice import BATCH, KUBERNETES
from airflow_ml.core.finding import Finding, missing, present, unknown
from airflow_ml.core.pod_template import kubernetes_options
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import AirflowMLError, RefConflict

#: The ref to which a check writes; each adds an entry or two.
PROBE = "doctor/probe"
_CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_PROFILE")


def examine_store(open_it: Callable[[], ArtifactStore], profile: ComputeProfile, *, uri: str) -> Iterator[Finding]:
    """Yield what is there and what is missing of the store.

    Args:
        open_it: Opens the store.
        profile: Where calls run, which must reach it as well.
        uri: The store's address.
    """
    yield examine_store_here(open_it, uri=uri)
    if profile.kind == KUBERNETES:
        yield _from_pods(profile, uri)
    elif profile.kind == BATCH:
        yield _from_jobs(uri)


def examine_store_here(open_it: Callable[[], ArtifactStore], *, uri: str) -> Finding:
    """Return whether the store can be read and written from here, and takes each entry once; arguments as above."""
    check = "store from here"
    try:
        store = open_it()
        blob = store.put_bytes(b"airflow-ml doctor", format="text")
        if store.get_bytes(blob) != b"airflow-ml doctor":
            return missing(check, f"{uri} returns other bytes than it was given", "Use another store.")
        newest = store.latest(PROBE)
        number = newest.sequence if newest is not None else 0
        store.append(PROBE, {"record": "Probe"}, after=number)
        try:
            store.append(PROBE, {"record": "Probe"}, after=number)
        except RefConflict:
            return present(check, f"{uri} can be read and written, and writes only what is not there yet")
        return missing(check, f"{uri} takes the same entry twice", "It needs conditional writes (If-None-Match).")
    except (AirflowMLError, OSError, ImportError) as error:
        return missing(check, f"{uri}: {error}", "Check its address and credentials.")
    except Exception as error:  # a client library's own
        return missing(check, f"{uri}: {type(error).__name__}: {error}", "Check its address and credentials.")


def _from_pods(profile: ComputeProfile, uri: str) -> Finding:
    check, options, parts = "store from the pods", kubernetes_options(profile), urlsplit(uri)
    if parts.scheme in ("", "file"):
        path = unquote(parts.path)
        if any(path == folder or path.startswith(f"{folder}/") for folder in options.claims):
            return present(check, f"a claim mounts {path}")
        return missing(
            check,
            f"{path} is a folder of this machine",
            'Mount it by claims = { "/folder" = "claim" }, or use S3. Only a `cluster --local` sees it so.',
        )
    given = [name for name in (*options.env, *options.secrets) if name in _CREDENTIALS]
    if options.service_account or given:
        return unknown(check, f"by {options.service_account or ', '.join(given)}; --probe would show")
    return missing(
        check, "neither a service account nor credentials are given", "Give service_account, or AWS_... under secrets."
    )


def _from_jobs(uri: str) -> Finding:
    check = "store from the jobs"
    if urlsplit(uri).scheme != "s3":
        return missing(check, f"{uri} is not a store that a job can reach", "Use a store on S3.")
    return unknown(check, "by the job role of the job definition; --probe would show")
