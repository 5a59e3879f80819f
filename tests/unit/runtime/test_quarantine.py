from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_ml.errors import ArtifactCorrupt, ConfigurationError
from airflow_ml.runtime import quarantine
from airflow_ml.runtime.quarantine import split_rows


def write(path: Path, rows: int) -> pa.Table:
    table = pa.table(
        {
            "key": pa.array([f"k{number}" for number in range(rows)], pa.string()),
            "at": pa.array([number * 1000 for number in range(rows)], pa.timestamp("us", tz="UTC")),
            "origin": pa.array(
                [None if number % 3 else "EWR" for number in range(rows)], pa.string()
            ).dictionary_encode(),
        }
    ).replace_schema_metadata({"made": "by hand"})
    pq.write_table(table, path, row_group_size=7)
    return table


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 40).flatmap(lambda n: st.tuples(st.just(n), st.lists(st.integers(0, max(n - 1, 0))))))
def test_every_row_goes_to_exactly_one_file(case: tuple[int, list[int]]) -> None:
    rows, bad = case[0], case[1] if case[0] else []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(quarantine, "_BATCH_ROWS", 8)
        source, clean, aside = (Path(folder, name) for name in ("t", "clean", "bad"))
        table = write(source, rows)
        counts = split_rows(source, bad, clean, aside)
        assert counts == (rows - len(set(bad)), len(set(bad)))
        wanted = [number for number in range(rows) if number not in bad]
        assert pq.read_table(clean).to_pylist() == table.take(pa.array(wanted, pa.int64())).to_pylist()
        assert pq.read_table(aside).to_pylist() == table.take(pa.array(sorted(set(bad)), pa.int64())).to_pylist()
        assert pq.read_schema(clean).equals(table.schema, check_metadata=True)
        assert pq.read_schema(aside).equals(table.schema, check_metadata=True)


@pytest.mark.parametrize("bad", [[5], [-1], [0, 1, 99]])
def test_positions_outside_the_file_are_refused_and_leave_nothing(tmp_path: Path, bad: list[int]) -> None:
    write(tmp_path / "t", 5)
    with pytest.raises(ConfigurationError, match="among the 5 rows"):
        split_rows(tmp_path / "t", bad, tmp_path / "clean", tmp_path / "bad")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_damaged_file_leaves_nothing(tmp_path: Path) -> None:
    write(tmp_path / "t", 5000)
    content = bytearray((tmp_path / "t").read_bytes())
    content[4 : len(content) // 2] = bytes(len(content) // 2 - 4)
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(ArtifactCorrupt, match="Cannot divide"):
        split_rows(tmp_path / "t", [1], tmp_path / "clean", tmp_path / "bad")
    assert [path.name for path in tmp_path.iterdir()] == ["t"]


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ArtifactCorrupt, match="Cannot divide"):
        split_rows(tmp_path / "t", [], tmp_path / "clean", tmp_path / "bad")


def test_the_source_is_never_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "t", 5)
    with pytest.raises(ConfigurationError, match="three different files"):
        split_rows(tmp_path / "t", [1], tmp_path / "t", tmp_path / "bad")
    assert pq.read_metadata(tmp_path / "t").num_rows == 5
