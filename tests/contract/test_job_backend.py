from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from airflow_ml.adapters.memory.backend import MemoryBackend, MemoryCluster
from airflow_ml.core.compute import ComputeProfile
from airflow_ml.core.job import JobHandle, JobRequest
from airflow_ml.core.ports import JobBackend
from airflow_ml.testing.contracts.job_backend import JobBackendContract


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
