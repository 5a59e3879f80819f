"""The least rights, as documents that their systems read."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate
import sqlglot

from airflow_ml.adapters.kubernetes_doctor import RIGHTS
from airflow_ml.core.batch_options import BatchOptions
from airflow_ml.core.kubernetes_options import KubernetesOptions
from airflow_ml.core.policies import batch_policy, kubernetes_role, snowflake_grants, store_policy


def test_role_and_binding() -> None:
    role, binding = kubernetes_role(KubernetesOptions(namespace="training"), RIGHTS, account="airflow:worker")
    for manifest in (role, binding):
        kubernetes_validate.validate(manifest, "1.37", strict=True)
    assert {"apiGroups": [""], "resources": ["pods/log"], "verbs": ["get"]} in role["rules"]  # type: ignore[operator]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "namespace": "airflow", "name": "worker"}]
    words = json.dumps([role, binding])
    assert "*" not in words
    assert "secrets" not in words


def test_batch() -> None:
    options = BatchOptions(queue="gpu", job_definition="train", region="eu-central-1")
    policy: Any = batch_policy(options)
    submit = policy["Statement"][0]
    assert "arn:aws:batch:eu-central-1:*:job-queue/gpu" in submit["Resource"]
    assert "arn:aws:batch:eu-central-1:*:job-definition/train:*" in submit["Resource"]
    assert all("*" not in str(one["Action"]) for one in policy["Statement"] if one["Resource"] != "*")
    by_arn: Any = batch_policy(BatchOptions(queue="arn:aws:batch:r:1:job-queue/q", job_definition="train:3"))
    assert "arn:aws:batch:r:1:job-queue/q" in by_arn["Statement"][0]["Resource"]


def test_store() -> None:
    policy: Any = store_policy("s3://aws_default@bucket/team/ml")
    read, listed = policy["Statement"]
    assert read["Resource"] == "arn:aws:s3:::bucket/team/ml/*"
    assert "s3:DeleteObject" not in read["Action"]
    assert listed["Condition"] == {"StringLike": {"s3:prefix": ["team/ml/*"]}}
    assert store_policy("file:///store") is None


def test_grants_are_snowflake_sql() -> None:
    for statement in snowflake_grants():
        sqlglot.parse(statement, dialect="snowflake")
