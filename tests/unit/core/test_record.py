"""Records survive the wire, and refuse what they cannot read."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.artifact import Artifact, Column, check_digest, check_ref
from airflow_ml.core.record import JSON, Record, parse, parse_as
from airflow_ml.core.snapshot import DatasetSnapshot
from airflow_ml.errors import InvalidKey, NotARecord, RecordTooLarge, RecordTooNew

DIGEST = "sha256:" + "0" * 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Record):
    schema: ClassVar[int] = 3
    name: str
    at: datetime
    parts: tuple[Column, ...] = ()
    artifact: Artifact | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    anything: JSON = None


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
samples = st.builds(
    Sample,
    name=st.text(),
    at=st.datetimes(timezones=st.just(UTC)),
    parts=st.lists(st.builds(Column, name=st.text(), dtype=st.text()), max_size=3).map(tuple),
    artifact=st.none()
    | st.builds(Artifact, digest=st.just(DIGEST), format=st.text(), size_bytes=st.integers(0), uri=st.text()),
    numbers=st.dictionaries(st.text(), st.floats(allow_nan=False, allow_infinity=False), max_size=3),
    anything=json_values,
)


@given(samples)
def test_round_trip_through_json(sample: Sample) -> None:
    assert parse(json.loads(json.dumps(sample.to_dict()))) == sample


@given(samples, samples)
def test_fingerprint_is_identity(left: Sample, right: Sample) -> None:
    assert (left.fingerprint == right.fingerprint) == (_told(left) == _told(right))


def _told(sample: Sample) -> dict[str, object]:
    """What a sample says: its wire form without the address of its artifact."""
    wire = sample.to_dict()
    if isinstance(wire["artifact"], dict):
        wire["artifact"].pop("uri", None)
    return wire  # type: ignore[return-value]


def sample(**changes: object) -> dict[str, object]:
    return {**Sample(name="a", at=datetime(2024, 1, 1, tzinfo=UTC)).to_dict(), **changes}


def test_reads_its_schema_and_the_one_before() -> None:
    assert Sample.from_dict(sample(schema=2)).name == "a"


@pytest.mark.parametrize(
    ("wire", "error"),
    [
        pytest.param(sample(schema=4), RecordTooNew, id="newer"),
        pytest.param(sample(schema="x"), RecordTooNew, id="no number"),
        pytest.param(sample(schema=1), NotARecord, id="too old"),
        pytest.param(sample(record="Other"), NotARecord, id="another kind"),
        pytest.param({"record": "Sample", "schema": 3}, NotARecord, id="lacks fields"),
    ],
)
def test_refuses(wire: dict[str, object], error: type[Exception]) -> None:
    with pytest.raises(error):
        Sample.from_dict(wire)


@pytest.mark.parametrize("value", [None, 3, "x", ("record", "Sample"), {"a": 1}])
def test_not_a_record(value: object) -> None:
    with pytest.raises(NotARecord):
        parse(value)


def test_parse_as_names_what_it_wanted() -> None:
    with pytest.raises(NotARecord, match="Expected a DatasetSnapshot: Sample"):
        parse_as(DatasetSnapshot, sample())


def test_too_large_for_xcom() -> None:
    big = Sample(name="x" * 40_000, at=datetime(2024, 1, 1, tzinfo=UTC))
    with pytest.raises(RecordTooLarge, match="Store the data as an artifact"):
        big.to_xcom()


def test_naive_time_is_refused() -> None:
    with pytest.raises(ValueError, match="without a zone"):
        Sample(name="a", at=datetime(2024, 1, 1)).to_dict()  # noqa: DTZ001 - the point of the test


@pytest.mark.parametrize(
    "name", ["", "/a", "a/", "a//b", "..", "a/../b", "a\x00", "a\\b", "é", "a" * 129, ".a", "a.", "a/b/c/d/e/f/g/h/i"]
)
def test_bad_ref_names(name: str) -> None:
    with pytest.raises(InvalidKey):
        check_ref(name)


@pytest.mark.parametrize("digest", ["", "sha256:", "sha256:" + "G" * 64, "md5:" + "0" * 64, DIGEST + "\n", "../x"])
def test_bad_digests(digest: str) -> None:
    with pytest.raises(InvalidKey):
        check_digest(digest)


def test_fingerprint_leaves_out_where_and_when() -> None:
    here = DatasetSnapshot(
        name="flights",
        artifact=Artifact(digest=DIGEST, format="parquet", size_bytes=1, uri="file:///a"),
        as_of=datetime(2024, 1, 1, tzinfo=UTC),
        rows=1,
        consistency="plain_read",
        statement_id="first",
        statement_digest=DIGEST,
        source="snowflake:w",
    )
    moved = dataclasses.replace(here, artifact=dataclasses.replace(here.artifact, uri="s3://b/a"), statement_id="again")
    assert here.fingerprint == moved.fingerprint
    assert here.fingerprint != dataclasses.replace(here, rows=2).fingerprint


def test_every_record_is_known_before_its_module_is_imported() -> None:
    program = """
import importlib, pkgutil, sys
import airflow_ml.core
from airflow_ml.core import record
known = {name: home for home, names in record._HOMES.items() for name in names.split()}
assert "airflow_ml.core.registration" not in sys.modules
try:
    record.parse({"record": "ModelVersion", "schema": 99})
except record.RecordTooNew:
    print("read")
for module in pkgutil.iter_modules(airflow_ml.core.__path__):
    importlib.import_module(f"airflow_ml.core.{module.name}")
assert known == {name: kind.__module__.rpartition(".")[2] for name, kind in record._REGISTRY.items()}
"""
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (found.stdout, found.stderr) == ("read\n", "")
