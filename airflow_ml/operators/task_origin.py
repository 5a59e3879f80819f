"""Where a task comes from, as its provenance says: checkout, uncommitted changes, DAG bundle, image, trigger."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.log import redact  # type: ignore[attr-defined]  # the SDK's own; it has no other door

from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.provenance import GitState
from airflow_ml.core.secret_scan import without_secrets
from airflow_ml.operators.secret_masking import masked_settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_ml.core.ports import ArtifactStore

#: Says which image a worker runs; no orchestrator tells a process that by itself.
IMAGE_VARIABLE = "AIRFLOW_ML_IMAGE"


def bundle_of(context: Context) -> tuple[str, str]:
    """Return name and version of the DAG bundle; empty where there is none, as in ``dag.test()``."""
    bundle = getattr(context.get("ti"), "bundle_instance", None)
    return str(getattr(bundle, "name", "") or ""), str(getattr(bundle, "version", "") or "")


def checkout_of(operator: BaseOperator, context: Context) -> GitState:
    """Return the checkout in which the DAG file lies; of a bundle with a version asked once on each machine."""
    from airflow_ml.runtime.code_state import git_state, git_state_of_version

    folder = _folder(operator)
    if folder is None:
        return GitState()
    name, version = bundle_of(context)
    return git_state_of_version(folder, f"{name} {version}") if version else git_state(folder)


def with_changes(operator: BaseOperator, state: GitState, store: ArtifactStore) -> GitState:
    """Store what differs from the commit, without what looks like a secret, and name it."""
    from airflow_ml.runtime.code_state import uncommitted

    folder = _folder(operator)
    if state.dirty != "yes" or folder is None:
        return state
    text = uncommitted(folder)
    if text is None:
        return state
    clean, found = without_secrets(text, known=lambda one: str(redact(one)))
    kept = store.put_bytes(clean.encode("utf-8", "replace"), format="text", metadata={"masked": str(found)})
    return replace(state, changes=kept.digest)


def triggered_by(context: Context) -> str:
    """Return the kind of the run, and who triggered it where a person did."""
    dag_run: Any = context.get("dag_run")
    kind = getattr(dag_run, "run_type", "") or ""
    user = getattr(dag_run, "triggering_user_name", "") or ""
    return " ".join(filter(None, [str(getattr(kind, "value", kind)), user and f"by {user}"]))


def image() -> str:
    """Return the image that this process runs in, as the deployment says."""
    return os.environ.get(IMAGE_VARIABLE, "")


def origin_tags(operator: BaseOperator, context: Context) -> dict[str, str]:
    """Return tags that tell where a run of a tracking server comes from; unknown facts have none."""
    import platform

    from airflow_ml.runtime.environment import environment_digest

    git, (bundle, version) = checkout_of(operator, context), bundle_of(context)
    params = canonical_json(masked_settings(dict(context.get("params") or {}))).decode()
    found = {
        "git_commit": git.commit,
        "git_branch": git.branch,
        "git_dirty": git.dirty,
        "bundle": bundle,
        "bundle_version": version,
        "image": image(),
        "python": platform.python_version(),
        "environment": environment_digest(),
        "triggered_by": triggered_by(context),
        "params": params if params != "{}" else "",
    }
    return {f"airflow_ml.{name}": value for name, value in found.items() if value and value != "unknown"}


def _folder(operator: BaseOperator) -> Path | None:
    file = operator.dag.fileloc if operator.has_dag() else ""  # type: ignore[no-untyped-call]
    return Path(file).resolve().parent if file else None
