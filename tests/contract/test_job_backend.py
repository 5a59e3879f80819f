from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from airflow_ml.adapters.batch import BatchJobs
from airflow_ml.adapters.batch_api import BatchApi
from airflow_ml.adapters.kubernetes import KubernetesJobs
from airflow_ml.adapters.kubernetes_api import KubernetesApi
from airflow_ml.adapters.memory.backend import MemoryBackend, MemoryCluster
from airflow_ml.core.compute import ComputeProfile, profile_from_dict
from airflow_ml.core.job import JobHandle, JobRequest
from airflow_ml.core.ports import JobBackend
from airflow_ml.testing.batch import BatchDouble, batch_double
from airflow_ml.testing.child_process import free_ports
from airflow_ml.testing.contracts.job_backend import JobBackendContract
from airflow_ml.testing.kubernetes import KubernetesDouble, kubernetes_double


class TestMemory(JobBackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[MemoryCluster]:
        cluster = MemoryCluster()
        yield cluster
        cluster.close()

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, cluster: MemoryCluster) -> JobBackend:
        return MemoryBackend(cluster)

    @pytest.fixture(scope="class")
    @classmethod
    def another_client(cls, cluster: MemoryCluster) -> JobBackend:
        return MemoryBackend(cluster)

    @pytest.fixture(scope="class")
    @classmethod
    def profile(cls) -> ComputeProfile:
        return ComputeProfile(name="here", kind="local")

    @pytest.fixture(scope="class")
    @classmethod
    def unreachable(cls) -> Iterator[JobBackend]:
        cluster = MemoryCluster()
        cluster.failing_requests = 1_000
        yield MemoryBackend(cluster)
        cluster.close()

    @pytest.fixture(scope="class")
    @classmethod
    def occupy(cls, backend: JobBackend) -> Callable[[JobRequest], None]:
        def occupy(request: JobRequest) -> None:
            backend.cancel(backend.submit(replace(request, calls=2)))

        return occupy

    @pytest.fixture(scope="class")
    @classmethod
    def remove(cls, cluster: MemoryCluster) -> Callable[[JobHandle], None]:
        def remove(handle: JobHandle) -> None:
            del cluster.jobs[handle.names[0]]

        return remove

    @pytest.fixture(scope="class")
    @classmethod
    def throttle(cls, cluster: MemoryCluster) -> Callable[[int], None]:
        def throttle(requests: int) -> None:
            cluster.failing_requests = requests

        return throttle


@pytest.mark.integration
@pytest.mark.long
class TestKubernetes(JobBackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def cluster(cls) -> Iterator[KubernetesDouble]:
        with kubernetes_double(schema_version="1.34") as cluster:
            yield cluster

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, cluster: KubernetesDouble) -> JobBackend:
        return KubernetesJobs(KubernetesApi(cluster.client()))

    @pytest.fixture(scope="class")
    @classmethod
    def another_client(cls, cluster: KubernetesDouble) -> JobBackend:
        return KubernetesJobs(KubernetesApi(cluster.client()))

    @pytest.fixture(scope="class")
    @classmethod
    def profile(cls) -> ComputeProfile:
        settings = {"kind": "kubernetes", "image": "python:3.11", "python": sys.executable, "cpus": 0.1}
        return profile_from_dict("k8s", {**settings, "kubernetes": {"image_by_tag": True}})

    @pytest.fixture(scope="class")
    @classmethod
    def unreachable(cls) -> JobBackend:
        from kubernetes import client

        nowhere = client.Configuration(host=f"https://127.0.0.1:{free_ports(1)[0]}")
        return KubernetesJobs(KubernetesApi(client.ApiClient(nowhere), deadline_seconds=0.1))

    @pytest.fixture(scope="class")
    @classmethod
    def occupy(cls, cluster: KubernetesDouble, backend: JobBackend) -> Callable[[JobRequest], None]:
        def occupy(request: JobRequest) -> None:
            manifest: Any = backend.render(request)
            container = {"name": "theirs", "image": "x", "command": ["sleep", "1"]}
            template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
            metadata = {"name": manifest["metadata"]["name"], "namespace": manifest["metadata"]["namespace"]}
            cluster.create(
                {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}
            )

        return occupy

    @pytest.fixture(scope="class")
    @classmethod
    def remove(cls, cluster: KubernetesDouble) -> Callable[[JobHandle], None]:
        def remove(handle: JobHandle) -> None:
            from kubernetes import client

            batch = client.BatchV1Api(cluster.client())
            batch.delete_namespaced_job(handle.names[0], "default", propagation_policy="Background")

        return remove

    @pytest.fixture(scope="class")
    @classmethod
    def throttle(cls, cluster: KubernetesDouble) -> Callable[[int], None]:
        return lambda requests: cluster.faults.fail_requests(429, times=requests, retry_after_seconds=0)


@pytest.mark.integration
@pytest.mark.long
class TestBatch(JobBackendContract):
    @pytest.fixture(scope="class")
    @classmethod
    def aws(cls) -> Iterator[BatchDouble]:
        with batch_double() as aws:
            aws.make_queue("queue")
            needs = [{"type": "VCPU", "value": "1"}, {"type": "MEMORY", "value": "2048"}]
            container = {"image": "python:3.11", "command": ["true"], "resourceRequirements": needs}
            aws.client().register_job_definition(
                jobDefinitionName="calls", type="container", containerProperties=container
            )
            yield aws

    @pytest.fixture(scope="class")
    @classmethod
    def backend(cls, aws: BatchDouble) -> JobBackend:
        return BatchJobs(BatchApi(aws.client))

    @pytest.fixture(scope="class")
    @classmethod
    def another_client(cls, aws: BatchDouble) -> JobBackend:
        return BatchJobs(BatchApi(aws.client))

    @pytest.fixture(scope="class")
    @classmethod
    def profile(cls) -> ComputeProfile:
        own = {"queue": "queue", "job_definition": "calls"}
        return profile_from_dict("batch", {"kind": "batch", "python": sys.executable, "batch": own})

    @pytest.fixture(scope="class")
    @classmethod
    def unreachable(cls, aws: BatchDouble) -> JobBackend:
        from botocore.config import Config

        nowhere = BatchDouble()
        nowhere.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        client = partial(nowhere.client, config=Config(retries={"total_max_attempts": 1}))
        return BatchJobs(BatchApi(client, deadline_seconds=0.1))

    @pytest.fixture(scope="class")
    @classmethod
    def occupy(cls, aws: BatchDouble, backend: JobBackend) -> Callable[[JobRequest], None]:
        def occupy(request: JobRequest) -> None:
            rendered: Any = backend.render(request)
            name = rendered["submit_job"][0]["jobName"]
            aws.client().submit_job(jobName=name, jobQueue="queue", jobDefinition="calls")

        return occupy

    @pytest.fixture(scope="class")
    @classmethod
    def remove(cls, aws: BatchDouble) -> Callable[[JobHandle], None]:
        return lambda handle: aws.forget(handle.names[0])

    @pytest.fixture(scope="class")
    @classmethod
    def throttle(cls, aws: BatchDouble) -> Callable[[int], None]:
        return lambda requests: aws.faults.throttle(times=requests)
