from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
from airflow_ml.adapters.memory.router import MemoryMetrics, Request
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.ports import MetricSource, Traffic
from airflow_ml.core.record import JSON
from airflow_ml.testing.contracts.metric_source import SALT, Load, MetricSourceContract
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import identity_models, variant


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    directory: Path = tmp_path_factory.mktemp("gateway")
    with LocalGateway(directory / "state", FolderStore(directory / "store").uri) as gateway:
        yield gateway


class TestMemory(MetricSourceContract):
    @pytest.fixture
    def source(self) -> MetricSource:
        return MemoryMetrics()

    @pytest.fixture
    def load(self, source: MetricSource) -> Load:
        assert isinstance(source, MemoryMetrics)
        return lambda model, requests, watermark_at: source.add(model, requests, watermark_at=watermark_at)


@pytest.mark.integration
class TestGateway(MetricSourceContract):
    @pytest.fixture
    def source(self, gateway: LocalGateway) -> MetricSource:
        return GatewayMetrics(gateway.url)

    @pytest.fixture
    def load(self, gateway: LocalGateway) -> Load:
        """Real requests through the gateway: its own hash chooses the variants, its models make the scores."""
        served = variant("1", identity_models(FolderStore(gateway.directory.parent / "store")), ["x"])
        view = str(served["view_digest"])
        router = GatewayRouter(gateway.url)

        def load(model: str, requests: Sequence[Request], watermark_at: datetime | None) -> None:
            for step, group in itertools.groupby(requests, key=lambda request: request.step):
                batch = list(group)
                traffic = Traffic(
                    model=model,
                    epoch=batch[0].epoch,
                    champion=served,
                    challenger={**served, "version": "2"},
                    weight_percent=float(step),
                    expires_at=None,
                    salt=SALT,
                )
                router.write(traffic)
                rows: list[dict[str, JSON]] = [
                    {"key": r.key, "unit": r.unit, "at": format_time(r.at), "features": {view: {"x": r.score}}}
                    for r in batch
                ]
                answers = router.predict(model, rows)
                assert [answer["variant"] for answer in answers] == [request.variant for request in batch]
                router.predict(model, rows)  # A repeated request must not be counted twice.
            if watermark_at is not None:
                outcomes: list[dict[str, JSON]] = [
                    {"key": r.key, "label": r.label, "known_at": format_time(r.at + timedelta(hours=3))}
                    for r in requests
                    if r.resolved
                ]
                router.send_outcomes(model, outcomes, watermark_at=format_time(watermark_at))

        return load
