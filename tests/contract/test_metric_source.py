from __future__ import annotations

import itertools
import json
import time
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
from airflow_ml.adapters.memory.router import MemoryMetrics, Request
from airflow_ml.adapters.prometheus import PrometheusMetrics
from airflow_ml.adapters.snowflake import SnowflakeSource
from airflow_ml.adapters.sql_metrics import SqlMetrics
from airflow_ml.core.arms import SHADOW_STEP
from airflow_ml.core.fingerprint import format_time
from airflow_ml.core.metric_query import SqlOutcomes
from airflow_ml.core.metric_series import PrometheusQueries, PrometheusSums
from airflow_ml.core.ports import MetricSource, Traffic
from airflow_ml.core.record import JSON, encode
from airflow_ml.errors import MetricUnreadable
from airflow_ml.runtime.callable_metrics import CallableMetrics
from airflow_ml.testing.contracts.metric_source import SALT, Load, MetricSourceContract, make_requests
from airflow_ml.testing.gateway_server import LocalGateway
from airflow_ml.testing.prometheus_server import LocalPrometheus
from airflow_ml.testing.served_models import identity_models, variant

SUMS = ("requests", "sum_x", "sum_xx", "units", "sum_nn", "sum_xn", "waiting", "sum_squares")


@pytest.fixture(scope="module")
def tables(warehouse: SnowflakeSource) -> SnowflakeSource:
    """The warehouse with the tables that are read."""
    for table in (
        "AIRFLOW_ML_EXPOSURES (MODEL VARCHAR, EPOCH NUMBER(38, 0), KEY VARCHAR, UNIT VARCHAR,"
        " DATA_DAY VARCHAR, STEP VARCHAR, ASSIGNED VARCHAR, VERSION VARCHAR, SCORE DOUBLE)",
        "AIRFLOW_ML_SHADOW_SCORES (MODEL VARCHAR, EPOCH NUMBER(38, 0), KEY VARCHAR, ARM VARCHAR,"
        " VERSION VARCHAR, SCORE DOUBLE)",
        "LATE_FLIGHTS (MODEL VARCHAR, FLIGHT VARCHAR, LATE DOUBLE)",
        "LOADS (MODEL VARCHAR, EPOCH NUMBER(38, 0), COMPLETE_TO TIMESTAMP_TZ)",
        "PLANES (TAILNUM VARCHAR, PAST DOUBLE)",
    ):
        warehouse.run(f"CREATE TABLE {table}", {}, tag={})
    return warehouse


class TestMemory(MetricSourceContract):
    @pytest.fixture
    def source(self) -> MetricSource:
        return MemoryMetrics()

    @pytest.fixture
    def load(self, source: MetricSource) -> Load:
        assert isinstance(source, MemoryMetrics)
        return lambda model, requests, watermark_at: source.add(model, requests, watermark_at=watermark_at)


class TestCallable(MetricSourceContract):
    """A function of the user's; the twin stands for what it asks."""

    @pytest.fixture
    def twin(self) -> MemoryMetrics:
        return MemoryMetrics()

    @pytest.fixture
    def source(self, twin: MemoryMetrics) -> MetricSource:
        def read(model: str, *, metric: str, epoch: int) -> Any:
            return encode(twin.read(model, metric=metric, epoch=epoch))

        return CallableMetrics(read)

    @pytest.fixture
    def load(self, twin: MemoryMetrics) -> Load:
        return lambda model, requests, watermark_at: twin.add(model, requests, watermark_at=watermark_at)


class TestPrometheus(MetricSourceContract):
    """An application that exposes its sums, scraped by a server that speaks Prometheus' API."""

    sees_units = counts_in_all = False

    @pytest.fixture
    def server(self) -> Iterator[LocalPrometheus]:
        with LocalPrometheus(token="a token") as server:
            yield server

    @pytest.fixture
    def source(self, server: LocalPrometheus) -> MetricSource:
        def series(name: str, metric: str = "brier") -> str:
            return f'sum by (variant, stratum) ({metric}_{name}{{model="$model", epoch="$epoch"}})'

        queries = PrometheusQueries(
            known='max(assigned{model="$model"})',
            assigned='sum by (variant, stratum) (assigned{model="$model", epoch="$epoch"})',
            watermark='max(watermark_seconds{model="$model", epoch="$epoch"})',
            metrics={
                "brier": PrometheusSums(**{name: series(name) for name in SUMS}),
                "brier paired": PrometheusSums(**{name: series(name, "pairs") for name in SUMS}),
            },
        )
        return PrometheusMetrics(server.url, queries, password="a token")

    @pytest.fixture
    def load(self, server: LocalPrometheus) -> Load:
        twin = MemoryMetrics()

        def load(model: str, requests: Sequence[Request], watermark_at: datetime | None) -> None:
            twin.add(model, requests, watermark_at=watermark_at)
            for epoch, metric in itertools.product((1, 2, 9), ("brier", "brier paired")):
                reading = twin.read(model, metric=metric, epoch=epoch)
                series = "brier" if metric == "brier" else "pairs"
                names = {"model": model, "epoch": str(epoch)}
                for arm, strata in reading.assigned.items():
                    for stratum, units in strata.items():
                        server.set("assigned", {**names, "variant": arm, "stratum": stratum}, units)
                for sample in reading.samples:
                    place = {**names, "variant": sample.variant, "stratum": sample.stratum, "instance": "a:1"}
                    for name in SUMS:
                        server.set(f"{series}_{name}", place, getattr(sample, name))
                if reading.watermark_at is not None:
                    server.set("watermark_seconds", names, reading.watermark_at.timestamp())

        return load

    def test_what_is_wrong_is_said_and_never_a_reading(self, server: LocalPrometheus, source: MetricSource) -> None:
        good = {"variant": "champion", "stratum": "5/2013-05-01"}
        names = {"model": "m", "epoch": "1"}
        server.set("assigned", {**names, **good}, 10)
        server.set("watermark_seconds", names, 1_400_000_000)
        server.set("brier_requests", {**names, **good}, float("nan"))
        with pytest.raises(MetricUnreadable, match="requests is not a number"):
            source.read("m", metric="brier", epoch=1)
        sums = PrometheusSums(requests="a", sum_x="b", sum_xx="c")
        queries = PrometheusQueries(
            known="max(assigned)", assigned="assigned{", watermark="max(watermark_seconds)", metrics={"m": sums}
        )
        with pytest.raises(MetricUnreadable, match=r"refused the query \(400\).*bad_data"):
            PrometheusMetrics(server.url, queries, password="a token").read("m", metric="m", epoch=1)
        with pytest.raises(MetricUnreadable, match=r"refused the query \(401\)"):
            PrometheusMetrics(server.url, queries, password="another").read("m", metric="m", epoch=1)
        with pytest.raises(MetricUnreadable, match="does not answer"):
            PrometheusMetrics("http://127.0.0.1:9", queries).read("m", metric="m", epoch=1)
        bare = replace(queries, assigned="assigned")
        server.set("assigned", {"model": "x"}, 3)
        with pytest.raises(MetricUnreadable, match="lacks variant or stratum"):
            PrometheusMetrics(server.url, bare, password="a token").read("m", metric="m", epoch=1)

    def test_a_model_with_a_quote_in_its_name_stays_inside_its_matcher(self, source: MetricSource) -> None:
        with pytest.raises(MetricUnreadable, match="no series"):
            source.read('m"} or vector(1) #', metric="brier", epoch=1)


@pytest.mark.integration
class TestSql(MetricSourceContract):
    """Exposures, outcomes and watermarks in tables of the warehouse, as batch scoring and a team's own loads write
    them."""

    @pytest.fixture
    def source(self, tables: SnowflakeSource) -> MetricSource:
        return SqlMetrics(tables, self.query())

    def query(self, **changes: Any) -> SqlOutcomes:
        return SqlOutcomes(
            outcomes="SELECT FLIGHT AS KEY, LATE AS LABEL FROM LATE_FLIGHTS WHERE MODEL = %(model)s;",
            watermark="SELECT MAX(COMPLETE_TO) FROM LOADS WHERE MODEL = %(model)s AND EPOCH >= %(epoch)s",
            **changes,
        )

    @pytest.fixture
    def load(self, tables: SnowflakeSource) -> Load:
        def load(model: str, requests: Sequence[Request], watermark_at: datetime | None) -> None:
            exposures = [
                (model, r.epoch, r.key, r.unit, f"{r.at:%Y-%m-%d}", r.step, r.variant, r.score) for r in requests
            ]
            columns = "MODEL, EPOCH, KEY, UNIT, DATA_DAY, STEP, ASSIGNED, SCORE"
            insert(tables, f"AIRFLOW_ML_EXPOSURES ({columns})", exposures)
            unheard = [(model, r.epoch, r.key, arm, float(score)) for r in requests for arm, score in r.shadow.items()]
            insert(tables, "AIRFLOW_ML_SHADOW_SCORES (MODEL, EPOCH, KEY, ARM, SCORE)", unheard)
            insert(tables, "LATE_FLIGHTS", [(model, r.key, r.label) for r in requests if r.resolved])
            if watermark_at is not None:
                insert(tables, "LOADS", [(model, max(r.epoch for r in requests), watermark_at)])

        return load

    def test_slices_add_up_to_the_whole(
        self, tables: SnowflakeSource, source: MetricSource, load: Load, model: str
    ) -> None:
        load(model, make_requests(11), make_requests(11)[-1].at + timedelta(days=1))
        whole = source.read(model, metric="brier", epoch=1)
        sliced = SqlMetrics(tables, self.query(slices={"digit": "RIGHT(e.UNIT, 1)"}))
        parts = sliced.read(model, metric="brier by digit", epoch=1)
        assert len({sample.slice_name for sample in parts.samples}) > 5
        assert sum(sample.sum_x for sample in parts.samples) == pytest.approx(sum(s.sum_x for s in whole.samples))
        with pytest.raises(MetricUnreadable, match="Unknown slice"):
            source.read(model, metric="brier by digit", epoch=1)

    def test_a_covariate_comes_with_its_sums_and_the_mean_stands_in_where_a_unit_has_no_past(
        self, tables: SnowflakeSource, load: Load, model: str
    ) -> None:
        requests = make_requests(12)
        load(model, requests, requests[-1].at + timedelta(days=1))
        past = {f"N{number}": float(number) for number in range(30)}
        insert(tables, "PLANES", list(past.items()))
        query = self.query(covariate="SELECT TAILNUM AS UNIT, PAST AS VALUE FROM PLANES")
        reading = SqlMetrics(tables, query).read(model, metric="brier", epoch=1)
        for sample in reading.samples:
            seen = {
                r.unit
                for r in requests
                if r.label is not None and (r.variant, f"{r.step}/{r.at:%Y-%m-%d}") == (sample.variant, sample.stratum)
            }
            assert sample.covariate is not None
            assert sample.covariate.sum_c == pytest.approx(sum(past.get(unit, 14.5) for unit in seen))
            assert sample.covariate.sum_cc == pytest.approx(sum(past.get(unit, 14.5) ** 2 for unit in seen))

    def test_units_that_change_arms_are_counted_and_rising_weights_are_no_change(
        self, tables: SnowflakeSource, source: MetricSource, model: str
    ) -> None:
        kept = [
            (model, 1, f"k{n}-{day}", f"N{n}", f"2013-05-0{day}", 5, "champion", 0.5)
            for n in range(8)
            for day in (1, 2)
        ]
        moved = [(model, 1, f"m{n}", f"N{n}", "2013-05-03", 50, "challenger", 0.5) for n in range(4)]
        crossed = [(model, 1, f"c{n}", f"N{n}", "2013-05-02", 5, "challenger", 0.5) for n in range(3)]
        columns = "MODEL, EPOCH, KEY, UNIT, DATA_DAY, STEP, ASSIGNED, SCORE"
        insert(tables, f"AIRFLOW_ML_EXPOSURES ({columns})", [*kept, *moved])
        assert source.read(model, metric="mae", epoch=1).crossed == (0, 12)
        insert(tables, f"AIRFLOW_ML_EXPOSURES ({columns})", crossed)
        found = source.read(model, metric="mae", epoch=1)
        assert found.crossed == (3, 12)
        assert set(found.assigned) == {"champion", "challenger"}

    def test_a_metric_of_ones_own(self, tables: SnowflakeSource, load: Load, model: str) -> None:
        requests = make_requests(13)
        load(model, requests, requests[-1].at + timedelta(days=1))
        own = SqlMetrics(tables, self.query(metrics={"missed": "CASE WHEN label > score THEN 1.0 ELSE 0.0 END"}))
        found = sum(sample.sum_x for sample in own.read(model, metric="missed", epoch=1).samples)
        assert found == sum(r.label is not None and r.label > r.score for r in requests)

    def test_a_statement_that_fails_and_numbers_that_are_none_are_unreadable(
        self, tables: SnowflakeSource, load: Load, model: str
    ) -> None:
        requests = make_requests(14, count=20)
        load(model, requests, requests[-1].at + timedelta(days=1))
        lost = replace(self.query(), outcomes="SELECT KEY, LABEL FROM NO_SUCH_TABLE")
        with pytest.raises(MetricUnreadable, match="cannot read the metric"):
            SqlMetrics(tables, lost).read(model, metric="mae", epoch=1)
        insert(tables, "LATE_FLIGHTS", [(model, "odd", 7.0)])
        odd = (model, 1, "odd", "N1", "2013-05-01", "5", "champion", 0.5)
        insert(tables, "AIRFLOW_ML_EXPOSURES (MODEL, EPOCH, KEY, UNIT, DATA_DAY, STEP, ASSIGNED, SCORE)", [odd])
        source = SqlMetrics(tables, self.query())
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


def _until_unheard(gateway: LocalGateway, wanted: int) -> None:
    deadline = time.monotonic() + 30
    while _unheard(gateway) < wanted:
        assert time.monotonic() < deadline, "the challengers did not score in time"
        time.sleep(0.02)


def _unheard(gateway: LocalGateway) -> int:
    """Return how many scores in shadow the gateway has logged."""
    with urllib.request.urlopen(f"{gateway.url}/healthz", timeout=10) as answer:
        return int(json.loads(answer.read())["counters"]["shadow_rows"])


@pytest.mark.integration
class TestGateway(MetricSourceContract):
    @pytest.fixture
    def source(self, one_gateway: LocalGateway) -> MetricSource:
        return GatewayMetrics(one_gateway.url)

    @pytest.fixture
    def load(self, one_gateway: LocalGateway, served_store: FolderStore) -> Load:
        """Real requests through the gateway: its own hash chooses the variants, its models make the scores."""
        served = variant("1", identity_models(served_store), ["x"])
        higher = variant("2", identity_models(served_store, shift=0.125), ["x"])
        view = str(served["view_digest"])
        router = GatewayRouter(one_gateway.url, one_gateway.token)

        def load(model: str, requests: Sequence[Request], watermark_at: datetime | None) -> None:
            for step, group in itertools.groupby(requests, key=lambda request: request.step):
                batch = list(group)
                shadow = step == SHADOW_STEP
                unheard = _unheard(one_gateway)
                traffic = Traffic(
                    model=model,
                    epoch=batch[0].epoch,
                    champion=served,
                    challenger=higher if shadow else {**served, "version": "2"},
                    weight_percent=0.0 if shadow else float(step),
                    expires_at=None,
                    salt=SALT,
                    others=({**served, "version": "3"},) if shadow else (),
                    shadow=shadow,
                )
                router.write(traffic)
                rows: list[dict[str, JSON]] = [
                    {"key": r.key, "unit": r.unit, "at": format_time(r.at), "features": {view: {"x": r.score}}}
                    for r in batch
                ]
                answers = router.predict(model, rows)
                assert [answer["variant"] for answer in answers] == [request.variant for request in batch]
                router.predict(model, rows)  # A repeated request must not be counted twice.
                if shadow:
                    _until_unheard(one_gateway, unheard + 4 * len(batch))
            if watermark_at is not None:
                outcomes: list[dict[str, JSON]] = [
                    {"key": r.key, "label": r.label, "known_at": format_time(r.at + timedelta(hours=3))}
                    for r in requests
                    if r.resolved
                ]
                router.send_outcomes(model, outcomes, watermark_at=format_time(watermark_at))

        return load
