"""The bytes of a ref's entry: canonical, and every changed byte is seen."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.adapters.ref_entry import decode_entry, encode_entry
from airflow_ml.core.fingerprint import canonical_json, digest_json
from airflow_ml.errors import ArtifactCorrupt

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON, max_size=4), st.integers(1, 10**18))
def test_an_entry_is_canonical_json_and_comes_back(value: dict[str, object], sequence: int) -> None:
    data = encode_entry("a/b", sequence, value)  # type: ignore[arg-type]
    whole = {"ref": "a/b", "sequence": sequence, "value": value, "digest": digest_json(value)}
    assert data == canonical_json(whole)
    assert decode_entry("a/b", sequence, data).value == value
    assert decode_entry("a/b", sequence, json.dumps(whole, indent=2).encode()).value == value, "written by hand"


@given(st.data())
def test_a_changed_byte_is_seen(data: st.DataObject) -> None:
    value = {"trials": [{"trial": "t00001", "metrics": {"auc": 0.91}}]}
    written = encode_entry("a/b", 7, value)  # type: ignore[arg-type]
    at, other = data.draw(st.integers(0, len(written) - 1)), data.draw(st.integers(0, 255))
    changed = written[:at] + bytes([other]) + written[at + 1 :]
    if changed == written:
        return
    try:
        read = decode_entry("a/b", 7, changed)
    except ArtifactCorrupt:
        return
    assert read.value == value, "a byte between the words"


@pytest.mark.parametrize(("ref", "sequence"), [("a/c", 7), ("a/b", 8)])
def test_an_entry_in_the_place_of_another_is_refused(ref: str, sequence: int) -> None:
    with pytest.raises(ArtifactCorrupt, match="damaged"):
        decode_entry(ref, sequence, encode_entry("a/b", 7, {"x": 1}))
