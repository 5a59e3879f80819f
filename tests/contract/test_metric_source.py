from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
from airflow_ml.adapters.memory.router import MemoryMetrics, Request
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.adapters.sql_metrics import SqlMetrics
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.metric_query import SqlOutcomes
from airflow_ml.core.ports import MetricSource, Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import MetricUnreadable
from airflow_ml.testing.contracts.metric_source import SALT, Load, MetricSourceContract, make_requests
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.served_models import identity_models, variant
from airflow_ml.testing.warehouse import LocalWarehouse


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGateway]:
    directory: Path = tmp_path_factory.mktemp("gateway")
    with LocalGateway(directory / "state", FolderStore(directory / "store").uri) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SnowflakeSource]:
    with LocalWarehouse(tmp_path_factory.mktemp("warehouse"), plain_http=True) as local:
        source = SnowflakeSource(local.connect, source_name="snowflake:test")
        for table in (
            "AIRFLOW_ML_EXPOSURES (MODEL VARCHAR, EPOCH NUMBER(38, 0), KEY VARCHAR, UNIT VARCHAR,"
            " DATA_DAY VARCHAR, STEP VARCHAR, ASSIGNED VARCHAR, VERSION VARCHAR, SCORE DOUBLE)",
            "LATE_FLIGHTS (MODEL VARCHAR, FLIGHT VARCHAR, LATE DOUBLE)",
            "LOADS (MODEL VARCHAR, EPOCH NUMBER(38, 0), COMPLETE_TO TIMESTAMP_TZ)",
            "PLANES (TAILNUM VARCHAR, PAST DOUBLE)",
        ):
            source.run(f"CREATE TABLE {table}", {}, tag={})
        yield source


class TestMemory(MetricSourceContract):
    @pytest.fixture
    def source(self) -> MetricSource:
        return MemoryMetrics()

    @pytest.fixture
    def load(self, source: MetricSource) -> Load:
        assert isinstance(source, MemoryMetrics)
        return lambda model, requests, watermark_at: source.add(model, requests, watermark_at=watermark_at)


@pytest.mark.integration
class TestSql(MetricSourceContract):
    """Exposures, outcomes and watermarks in tables of the warehouse, as batch scoring and a team's own loads write
    them."""

    @pytest.fixture
    def source(self, warehouse: SnowflakeSource) -> MetricSource:
        return SqlMetrics(warehouse, self.query())

    def query(self, **changes: Any) -> SqlOutcomes:
        return SqlOutcomes(
            outcomes="SELECT FLIGHT AS KEY, LATE AS LABEL FROM LATE_FLIGHTS WHERE MODEL = %(model)s;",
            watermark="SELECT MAX(COMPLETE_TO) FROM LOADS WHERE MODEL = %(model)s AND EPOCH >= %(epoch)s",
            **changes,
        )

    @pytest.fixture
    def load(self, warehouse: SnowflakeSource) -> Load:
        def load(model: str, requests: Sequence[Request], watermark_at: datetime | None) -> None:
            exposures = [
                (model, r.epoch, r.key, r.unit, f"{r.at:%Y-%m-%d}", r.step, r.variant, r.score) for r in requests
            ]
            columns = "MODEL, EPOCH, KEY, UNIT, DATA_DAY, STEP, ASSIGNED, SCORE"
            insert(warehouse, f"AIRFLOW_ML_EXPOSURES ({columns})", exposures)
            insert(warehouse, "LATE_FLIGHTS", [(model, r.key, r.label) for r in requests if r.resolved])
            if watermark_at is not None:
                insert(warehouse, "LOADS", [(model, max(r.epoch for r in requests), watermark_at)])

        return load

    def test_slices_add_up_to_the_whole(
        self, warehouse: SnowflakeSource, source: MetricSource, load: Load, model: str
    ) -> None:
        load(model, make_requests(11), make_requests(11)[-1].at + timedelta(days=1))
        whole = source.read(model, metric="brier", epoch=1)
        sliced = SqlMetrics(warehouse, self.query(slices={"digit": "RIGHT(e.UNIT, 1)"}))
        parts = sliced.read(model, metric="brier by digit", epoch=1)
        assert len({sample.slice_name for sample in parts.samples}) > 5
        assert sum(sample.sum_x for sample in parts.samples) == pytest.approx(sum(s.sum_x for s in whole.samples))
        with pytest.raises(MetricUnreadable, match="Unknown slice"):
            source.read(model, metric="brier by digit", epoch=1)

    def test_a_covariate_comes_with_its_sums_and_the_mean_stands_in_where_a_unit_has_no_past(
        self, warehouse: SnowflakeSource, load: Load, model: str
    ) -> None:
        requests = make_requests(12)
        load(model, requests, requests[-1].at + timedelta(days=1))
        past = {f"N{number}": float(number) for number in range(30)}
        insert(warehouse, "PLANES", list(past.items()))
        query = self.query(covariate="SELECT TAILNUM AS UNIT, PAST AS VALUE FROM PLANES")
        reading = SqlMetrics(warehouse, query).read(model, metric="brier", epoch=1)
        for sample in reading.samples:
            seen = {
                r.unit
                for r in requests
                if r.label is not None and (r.variant, f"{r.step}/{r.at:%Y-%m-%d}") == (sample.variant, sample.stratum)
            }
            assert sample.covariate is not None
            assert sample.covariate.sum_c == pytest.approx(sum(past.get(unit, 14.5) for unit in seen))
            assert sample.covariate.sum_cc == pytest.approx(sum(past.get(unit, 14.5) ** 2 for unit in seen))

    def test_a_metric_of_ones_own(self, warehouse: SnowflakeSource, load: Load, model: str) -> None:
        requests = make_requests(13)
        load(model, requests, requests[-1].at + timedelta(days=1))
        own = SqlMetrics(warehouse, self.query(metrics={"missed": "CASE WHEN label > score THEN 1.0 ELSE 0.0 END"}))
        found = sum(sample.sum_x for sample in own.read(model, metric="missed", epoch=1).samples)
        assert found == sum(r.label is not None and r.label > r.score for r in requests)

    def test_a_statement_that_fails_and_numbers_that_are_none_are_unreadable(
        self, warehouse: SnowflakeSource, load: Load, model: str
    ) -> None:
        requests = make_requests(14, count=20)
        load(model, requests, requests[-1].at + timedelta(days=1))
        lost = replace(self.query(), outcomes="SELECT KEY, LABEL FROM NO_SUCH_TABLE")
        with pytest.raises(MetricUnreadable, match="cannot read the metric"):
            SqlMetrics(warehouse, lost).read(model, metric="mae", epoch=1)
        insert(warehouse, "LATE_FLIGHTS", [(model, "odd", 7.0)])
        odd = (model, 1, "odd", "N1", "2013-05-01", "5", "champion", 0.5)
        insert(warehouse, "AIRFLOW_ML_EXPOSURES (MODEL, EPOCH, KEY, UNIT, DATA_DAY, STEP, ASSIGNED, SCORE)", [odd])
        source = SqlMetrics(warehouse, self.query())
        with pytest.raises(MetricUnreadable, match="'odd' has score"):
            source.read(model, metric="log_loss", epoch=1)
        assert source.read(model, metric="mae", epoch=1).samples


def insert(warehouse: SnowflakeSource, table: str, rows: Sequence[tuple[Any, ...]]) -> None:
    """Insert rows of text, numbers, times and nulls by one statement whose text does not grow with them."""
    if not rows:
        return
    kinds = ["DOUBLE" if isinstance(v, float) or v is None else "VARCHAR" for v in rows[0]]
    for row in rows:
        kinds = ["DOUBLE" if isinstance(v, float) else kind for kind, v in zip(kinds, row, strict=True)]
    columns = ", ".join(
        f"NULLIF(SPLIT_PART(f.VALUE::VARCHAR, '|', {number}), '')::{kind}" for number, kind in enumerate(kinds, start=1)
    )
    text = "\n".join("|".join("" if v is None else str(v) for v in row) for row in rows)
    statement = f"INSERT INTO {table} SELECT {columns} FROM LATERAL FLATTEN(INPUT => SPLIT(%(rows)s, '\n')) AS f"
    warehouse.run(statement, {"rows": text}, tag={})


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
