"""The doctor against moto's AWS Batch: what is there is found, and each thing that is missing is named."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_ml.adapters.batch_doctor import examine_batch
from airflow_ml.core.compute import profile_from_dict
from airflow_ml.core.finding import MISSING, OK, UNKNOWN, Finding


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    import boto3
    from moto import mock_aws

    patch = pytest.MonkeyPatch()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        patch.setenv(name, "testing")
    with mock_aws(config={"batch": {"use_docker": False}}):
        roles = boto3.client("iam", region_name="eu-central-1")
        role = roles.create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        roles.create_instance_profile(InstanceProfileName="nodes")
        network = boto3.client("ec2", region_name="eu-central-1")
        subnet = network.describe_subnets()["Subnets"][0]
        group = network.describe_security_groups()["SecurityGroups"][0]["GroupId"]
        made = boto3.client("batch", region_name="eu-central-1")
        environment = made.create_compute_environment(
            computeEnvironmentName="cpus",
            type="MANAGED",
            state="ENABLED",
            serviceRole=role,
            computeResources={
                "type": "EC2", "minvCpus": 0, "maxvCpus": 16, "instanceTypes": ["m5.large"],
                "subnets": [subnet["SubnetId"]], "securityGroupIds": [group], "instanceRole": "nodes",
            },
        )["computeEnvironmentArn"]  # fmt: skip
        order = [{"order": 1, "computeEnvironment": environment}]
        for name, state in (("queue", "ENABLED"), ("closed", "DISABLED")):
            made.create_job_queue(jobQueueName=name, state=state, priority=1, computeEnvironmentOrder=order)
        for _ in range(2):
            made.register_job_definition(
                jobDefinitionName="train",
                type="container",
                containerProperties={"image": "train:latest", "vcpus": 1, "memory": 512},
            )
        yield made
    patch.undo()


def found(client: Any, **table: Any) -> dict[str, Finding]:
    batch = {"queue": "queue", "job_definition": "train", **table.pop("batch", {})}
    return {
        one.check: one
        for one in examine_batch(client, profile_from_dict("p", {"kind": "batch", "batch": batch, **table}))
    }


def test_all_is_well(client: Any) -> None:
    findings = found(client, cpus=4)
    assert findings["queue queue"].state == OK
    assert findings["compute environment cpus"].seen == "EC2 m5.large, 4 jobs side by side"
    assert findings["job definition train"].seen == "revision 2, image train:latest"
    assert [findings[check].state for check in ("image", "job role")] == [UNKNOWN, UNKNOWN]


@pytest.mark.parametrize(
    ("table", "check", "seen"),
    [
        ({"batch": {"queue": "none"}}, "queue none", "does not exist in this region"),
        ({"batch": {"queue": "closed"}}, "queue closed", "DISABLED"),
        ({"batch": {"job_definition": "none"}}, "job definition none", "has no active revision"),
        ({"cpus": 64}, "compute environment cpus", "has at most 16 vCPUs, 64 are needed"),
        ({"gpus": 1}, "compute environment cpus", "has no GPU instances: m5.large"),
        ({"cpus": 0.5}, "cpus", "0.5 is not a whole number"),
    ],
)
def test_what_is_missing(client: Any, table: dict[str, Any], check: str, seen: str) -> None:
    finding = found(client, **table)[check]
    assert finding.state == MISSING
    assert finding.seen.startswith(seen)
    assert finding.remedy


class Definitions:
    """Knows job definitions only, a page of them at a time."""

    def __init__(self, *pages: Any) -> None:
        self.pages = pages

    def __getattr__(self, name: str) -> Any:
        return lambda **_: {"jobQueues": []}

    def describe_job_definitions(self, nextToken: str = "0", **_: Any) -> Any:
        number = int(nextToken)
        more = {"nextToken": str(number + 1)} if number + 1 < len(self.pages) else {}
        return {"jobDefinitions": [self.pages[number]], **more}


def definition(revision: int, **properties: Any) -> Any:
    container = {"image": f"train@sha256:{revision}", "jobRoleArn": "arn:role"}
    return {"revision": revision, "status": "ACTIVE", "containerProperties": container, **properties}


def test_of_many_revisions_the_newest_counts() -> None:
    findings = found(Definitions(definition(9), definition(101), definition(100)))
    assert findings["job definition train"].seen == "revision 101, image train@sha256:101"
    assert "job role" not in findings


@pytest.mark.parametrize(
    ("properties", "table", "check", "seen"),
    [
        ({"containerProperties": None}, {}, "job definition train", "revision 1 is for EKS"),
        ({"platformCapabilities": ["FARGATE"]}, {"cpus": 3}, "cpus", "3 is not one of 0.25, 0.5, 1, 2"),
        ({"platformCapabilities": ["FARGATE"]}, {"gpus": 1}, "GPUs", "the job definition is for Fargate"),
    ],
)
def test_a_definition_that_does_not_do(properties: Any, table: Any, check: str, seen: str) -> None:
    finding = found(Definitions(definition(1, **properties)), **table)[check]
    assert (finding.state, finding.seen.startswith(seen)) == (MISSING, True)


def test_no_rights(client: Any) -> None:
    from botocore.exceptions import ClientError

    class Refusing:
        def __getattr__(self, name: str) -> Any:
            def refuse(**_: Any) -> Any:
                raise ClientError({"Error": {"Code": "AccessDeniedException", "Message": "no"}}, name)

            return refuse

    findings = found(Refusing())
    assert findings["queue queue"].state == UNKNOWN
    assert "AccessDeniedException" in findings["queue queue"].seen
    assert findings["job definition train"].state == UNKNOWN
