"""The least rights that a deployment needs, as the documents that grant them."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from airflow_ml.core.batch_options import BatchOptions
from airflow_ml.core.kubernetes_options import KubernetesOptions
from airflow_ml.core.record import JSON


def kubernetes_role(
    options: KubernetesOptions,
    rights: Iterable[tuple[str, str, str, tuple[str, ...]]],
    *,
    account: str,
    role: str = "airflow-ml",
) -> list[dict[str, JSON]]:
    """Return a role and its binding for the account of the workers and the triggerer.

    The pods' own account needs no right in the cluster: no token is in them.

    Args:
        options: The profile's.
        rights: API group, resource, subresource, verbs.
        account: ``namespace:name`` of the service account.
        role: Name of role and binding.
    """
    rules: list[JSON] = [
        {"apiGroups": [group], "resources": [f"{resource}/{part}" if part else resource], "verbs": list(verbs)}
        for group, resource, part, verbs in rights
    ]
    metadata: dict[str, JSON] = {"name": role, "namespace": options.namespace}
    place, _, name = account.partition(":")
    return [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": metadata,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": role},
            "subjects": [{"kind": "ServiceAccount", "namespace": place, "name": name}],
        },
    ]


def batch_policy(options: BatchOptions) -> dict[str, JSON]:
    """Return an IAM policy for the role of the workers and the triggerer."""
    queue = _arn(options.queue, "job-queue", options)
    definition = _arn(options.job_definition, "job-definition", options)
    submit: list[JSON] = [queue, definition, f"{definition}:*"] if definition.count(":") < 6 else [queue, definition]
    return _policy(
        {
            "Effect": "Allow",
            "Action": ["batch:SubmitJob", "batch:TagResource"],
            "Resource": [*submit, _arn("*", "job", options)],
        },
        {"Effect": "Allow", "Action": "batch:TerminateJob", "Resource": _arn("*", "job", options)},
        {  # AWS knows no resource for these
            "Effect": "Allow",
            "Action": ["batch:DescribeJobs", "batch:ListJobs", "batch:Describe*"],
            "Resource": "*",
        },
        {
            "Effect": "Allow",
            "Action": "logs:GetLogEvents",
            "Resource": f"arn:aws:logs:{options.region or '*'}:*:log-group:/aws/batch/job:*",
        },
    )


def store_policy(store_uri: str) -> dict[str, JSON] | None:
    """Return an IAM policy for whoever reads and writes the store: workers, triggerer, pods and jobs.

    None where the store is not on S3. Nothing is ever overwritten, and deleting is left to who cleans up.
    """
    parts = urlsplit(store_uri)
    if parts.scheme != "s3":
        return None
    bucket, prefix = parts.hostname or "", parts.path.strip("/")
    below = f"{prefix}/*" if prefix else "*"
    return _policy(
        {
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:PutObject"],
            "Resource": f"arn:aws:s3:::{bucket}/{below}",
        },
        {
            "Effect": "Allow",
            "Action": "s3:ListBucket",
            "Resource": f"arn:aws:s3:::{bucket}",
            "Condition": {"StringLike": {"s3:prefix": [below]}},
        },
    )


def snowflake_grants() -> list[str]:
    """Return the statements that grant a role what snapshots and scores need; names in capitals are to be replaced."""
    return [
        "CREATE ROLE IF NOT EXISTS AIRFLOW_ML;",
        "GRANT USAGE ON WAREHOUSE MY_WAREHOUSE TO ROLE AIRFLOW_ML;",
        "GRANT USAGE ON DATABASE MY_DATABASE TO ROLE AIRFLOW_ML;",
        "GRANT USAGE ON SCHEMA MY_DATABASE.MY_SCHEMA TO ROLE AIRFLOW_ML;",
        "GRANT SELECT ON ALL TABLES IN SCHEMA MY_DATABASE.MY_SCHEMA TO ROLE AIRFLOW_ML;",
        "GRANT SELECT ON FUTURE TABLES IN SCHEMA MY_DATABASE.MY_SCHEMA TO ROLE AIRFLOW_ML;",
        "-- for predict and quarantined rows: tables that the role makes itself",
        "GRANT USAGE, CREATE TABLE, CREATE STAGE ON SCHEMA MY_DATABASE.MY_SCORES TO ROLE AIRFLOW_ML;",
        "-- for build_features(engine='warehouse'): a temporary table in the connection's own schema",
        "GRANT CREATE TABLE, CREATE STAGE ON SCHEMA MY_DATABASE.MY_SCHEMA TO ROLE AIRFLOW_ML;",
    ]


def _arn(name: str, kind: str, options: BatchOptions) -> str:
    return name if name.startswith("arn:") else f"arn:aws:batch:{options.region or '*'}:*:{kind}/{name}"


def _policy(*statements: dict[str, JSON]) -> dict[str, JSON]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
