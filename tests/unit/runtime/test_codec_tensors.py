"""Named tensors come back with names, shapes, types and values, and files bring no code along."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.errors import NoCodec
from airflow_ml.runtime.codecs import load_value, store_value


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


def test_named_arrays_come_back(store: FolderStore) -> None:
    value = {
        "layer.weight": np.arange(12, dtype=np.float32).reshape(3, 4).T,
        "layer.bias": np.array([-1, 2], dtype=np.int64),
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 3), dtype=np.float16),
    }
    artifact = store_value(value, store)
    loaded = load_value(artifact, store)
    assert (artifact.format, artifact.metadata["tensors"]) == ("safetensors", "4")
    assert set(loaded) == set(value)
    for name, array in value.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)
    assert store_value(dict(reversed(value.items())), store).digest == artifact.digest


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"a": np.array(["text"])}, "numbers only"),
        ({"a": np.array([object()])}, "numbers only"),
        ({1: np.array([1.0])}, "not text"),
    ],
)
def test_what_cannot_be_stored_is_refused(value: object, said: str, store: FolderStore) -> None:
    with pytest.raises(NoCodec, match=said):
        store_value(value, store)


def test_a_dict_of_other_things_is_json_as_before(store: FolderStore) -> None:
    assert store_value({}, store).format == "json"
    with pytest.raises(NoCodec):
        store_value({"a": np.array([1.0]), "b": 1}, store)


def test_a_file_that_is_none_is_refused(store: FolderStore) -> None:
    with pytest.raises(NoCodec, match="Not a safetensors file"):
        load_value(store.put_bytes(b"\x80\x04not tensors", format="safetensors"), store)


def test_a_state_dict_comes_back(store: FolderStore) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    state = torch.nn.Linear(3, 2).state_dict()
    loaded = load_value(store_value(state, store), store)
    assert set(loaded) == set(state)
    assert all(torch.equal(loaded[name], state[name]) for name in state)
