"""Values to bytes and back, and what is refused."""

from __future__ import annotations

import io
import json
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import GradientBoostingClassifier, HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

from airflow_ml.adapters.folder_store import FolderStore
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.monitoring import DriftMeasure
from airflow_ml.core.sweep import TrialSummary
from airflow_ml.errors import ArtifactCorrupt, ConfigurationError, MissingDependency, NoCodec
from airflow_ml.runtime import codecs
from airflow_ml.runtime.codec_sklearn import is_trusted
from airflow_ml.runtime.codecs import Codec, Written, load_value, register_codec, store_value


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Small fits on a busy machine spend their time waiting for one another's threads."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "store")


@pytest.fixture
def own_codecs() -> Iterator[None]:
    before = dict(codecs._REGISTERED)
    yield
    codecs._REGISTERED.clear()
    codecs._REGISTERED.update(before)


def frame(rows: int = 300) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "distance": rng.normal(size=rows),
            "carrier": pd.Categorical(rng.choice(["AA", "B6"], rows), categories=["AA", "B6", "UA"]),
        }
    )


def labels(rows: int = 300) -> np.ndarray[Any, Any]:
    return np.random.default_rng(1).random(rows) < 0.4


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(value=JSON_VALUES)
def test_json_comes_back(value: Any, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = FolderStore(tmp_path_factory.getbasetemp() / "json-store")
    assert load_value(store_value(value, store), store) == value


@pytest.mark.parametrize("value", ["", "text\r\nand ünicode", b"", b"\x00\xff", bytearray(b"ab")])
def test_text_and_bytes_come_back(value: Any, store: FolderStore) -> None:
    assert load_value(store_value(value, store), store) == value


def test_a_file_comes_back_as_a_path(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(b"\x01\x02")
    artifact = store_value(tmp_path / "weights.bin", store)
    assert artifact.metadata["file_name"] == "weights.bin"
    assert load_value(artifact, store).read_bytes() == b"\x01\x02"
    with pytest.raises(NoCodec, match="Not a file"):
        store_value(tmp_path / "nowhere", store)


def test_a_record_comes_back_as_a_record(store: FolderStore) -> None:
    artifact = store_value(b"x", store)
    assert load_value(store_value(artifact, store), store) == artifact


def test_tables_come_back_with_rows_and_columns(store: FolderStore) -> None:
    artifact = store_value(frame(), store, name="training")
    assert (artifact.format, artifact.rows, artifact.metadata["name"]) == ("parquet", 300, "training")
    assert artifact.columns[0].name == "distance"
    pd.testing.assert_frame_equal(load_value(artifact, store), frame())
    table = pa.table({"a": [1, None], "b": ["x", "y"]})
    assert load_value(store_value(table, store), store).equals(table)


@pytest.mark.parametrize(
    "value",
    [np.arange(6).reshape(2, 3), np.array(["a", "bc"]), np.array(3.5), np.zeros((0, 2)), np.array([True, False])],
)
def test_arrays_come_back(value: np.ndarray[Any, Any], store: FolderStore) -> None:
    loaded = load_value(store_value(value, store), store)
    assert loaded.dtype == value.dtype
    np.testing.assert_array_equal(loaded, value)


def test_hist_gradient_boosting_comes_back_with_equal_predictions(store: FolderStore) -> None:
    model = HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(frame(), labels())
    artifact = store_value(model, store)
    assert artifact.format == "skops"
    loaded = load_value(artifact, store)
    np.testing.assert_array_equal(loaded.predict_proba(frame()), model.predict_proba(frame()))


@pytest.mark.parametrize(
    "model",
    [
        LogisticRegression(),
        Ridge(),
        RandomForestClassifier(n_estimators=5, random_state=0),
        GradientBoostingClassifier(n_estimators=5, random_state=0),
        KNeighborsClassifier(),
        MLPClassifier((4,), max_iter=10, random_state=0),
        CalibratedClassifierCV(LogisticRegression(), cv=2),
        make_pipeline(FunctionTransformer(np.log1p), StandardScaler(), LogisticRegression()),
    ],
    ids=lambda model: type(model).__name__,
)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_usual_estimators_come_back(model: Any, store: FolderStore) -> None:
    X = np.abs(np.random.default_rng(0).normal(size=(80, 3)))
    model.fit(X, (X[:, 0] > 0.7).astype(int))
    loaded = load_value(store_value(model, store), store)
    ask = "predict_proba" if hasattr(model, "predict_proba") else "predict"
    np.testing.assert_array_equal(getattr(loaded, ask)(X), getattr(model, ask)(X))


def test_a_pipeline_over_columns_comes_back(store: FolderStore) -> None:
    encode = ColumnTransformer([("text", OneHotEncoder(handle_unknown="ignore"), ["carrier"])], remainder="passthrough")
    model = make_pipeline(encode, LogisticRegression()).fit(frame(), labels())
    loaded = load_value(store_value(model, store), store)
    np.testing.assert_array_equal(loaded.predict_proba(frame()), model.predict_proba(frame()))


def boosted() -> list[Any]:
    """Models of each kind: by scikit-learn's interface and its own, over categories, in a pipeline, stopped early."""
    import lightgbm
    import xgboost

    X, y = frame().assign(carrier=frame()["carrier"].astype("category")), labels()
    numbers = X.drop(columns="carrier")
    quiet = {"n_estimators": 5, "random_state": 0}
    early = lightgbm.LGBMClassifier(verbose=-1, **quiet)
    early.fit(X, y, eval_X=X, eval_y=y, callbacks=[lightgbm.early_stopping(2, verbose=False)])
    return [
        (early, X),
        (lightgbm.LGBMRegressor(verbose=-1, **quiet).fit(X, y), X),
        (make_pipeline(StandardScaler(), lightgbm.LGBMClassifier(verbose=-1, **quiet)).fit(numbers, y), numbers),
        (lightgbm.train({"verbose": -1}, lightgbm.Dataset(numbers, y), 5), numbers),
        (xgboost.XGBClassifier(enable_categorical=True, **quiet).fit(X, y), X),
        (xgboost.XGBRegressor(**quiet).fit(numbers, y), numbers),
        (make_pipeline(StandardScaler(), xgboost.XGBRFClassifier(**quiet)).fit(numbers, y), numbers),
        (xgboost.train({}, xgboost.DMatrix(numbers, y), 5), xgboost.DMatrix(numbers)),
    ]


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_boosted_trees_of_other_libraries_come_back(store: FolderStore) -> None:
    for model, rows in boosted():
        artifact = store_value(model, store)
        loaded = load_value(artifact, store)
        ask = "predict_proba" if hasattr(model, "predict_proba") else "predict"
        np.testing.assert_array_equal(getattr(loaded, ask)(rows), getattr(model, ask)(rows))
        assert type(loaded) is type(model)
        assert store_value(model, store).digest == artifact.digest


def test_a_library_that_is_not_where_a_model_is_read_is_named(
    store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    import lightgbm

    fitted = lightgbm.LGBMClassifier(n_estimators=1, verbose=-1).fit(frame()[["distance"]], labels())
    artifact = store_value(fitted, store)
    for name in [name for name in sys.modules if name.partition(".")[0] == "lightgbm"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightgbm", None)  # its import now fails as where it is not installed
    with pytest.raises(MissingDependency, match=f"lightgbm, which wrote it as version {lightgbm.__version__}"):
        load_value(artifact, store)


@pytest.mark.parametrize(
    "series",
    [
        pd.Series([1.5, None], name="Größe"),
        pd.Series(["a", "b"], index=["x", "y"]),
        pd.Series([1, 2, 3]).value_counts(),
        pd.Series(pd.Categorical(["a", None]), name="kind"),
    ],
    ids=["named", "unnamed", "counts", "categories"],
)
def test_a_series_comes_back(series: pd.Series[Any], store: FolderStore) -> None:
    artifact = store_value(series, store)
    assert artifact.format == "parquet"
    pd.testing.assert_series_equal(load_value(artifact, store), series)


def test_the_same_model_is_the_same_bytes(store: FolderStore) -> None:
    digests = set()
    for _ in range(2):
        model = HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(frame(), labels())
        artifact = store_value(model, store)
        digests |= {artifact.digest, store_value(load_value(artifact, store), store).digest}
    assert len(digests) == 1


class Odd:
    """A type that nobody stores."""


class OddEstimator(LogisticRegression):
    """A scikit-learn estimator whose class is the user's own."""


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (Odd(), "Odd"),
        (lambda: None, "function"),
        ({1, 2}, "set"),
        (pd.Series([1], name=3), "text column names"),
        ({"a": {"b": Odd()}}, r"value\['a'\]\['b'\]"),
        ({1: "x"}, "text keys"),
        ([1.0, float("nan")], r"value\[1\] is nan"),
        (np.array([Odd()], dtype=object), "dtype object"),
        (pd.DataFrame({"a": [1, "x"]}), "column holds values"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "each once"),
        (OddEstimator(), "OddEstimator"),
        (FunctionTransformer(lambda x: x), "lambda"),
        (FunctionTransformer(subprocess.run), "subprocess.run"),
    ],
    ids=lambda item: item if isinstance(item, str) else "",
)
def test_what_cannot_be_stored_safely_is_refused(value: Any, said: str, store: FolderStore) -> None:
    with pytest.raises(NoCodec, match=said):
        store_value(value, store)


def test_the_refusal_names_the_choices(store: FolderStore) -> None:
    with pytest.raises(NoCodec) as caught:
        store_value(Odd(), store)
    for choice in ("pandas", "numpy", "sklearn", "json", "airflow_ml.codecs", "pathlib.Path"):
        assert choice in str(caught.value)


def test_a_registered_codec_goes_first(own_codecs: None, store: FolderStore) -> None:
    def write(value: Odd, path: Path) -> Written:
        path.write_text("odd")
        return Written(metadata={"kind": "odd"})

    mine = Codec(
        name="odd", format="odd", handles=lambda v: isinstance(v, Odd), write=write, read=lambda path, artifact: Odd()
    )
    register_codec(mine)
    artifact = store_value(Odd(), store)
    assert (artifact.format, artifact.metadata["kind"]) == ("odd", "odd")
    assert isinstance(load_value(artifact, store), Odd)
    with pytest.raises(ConfigurationError, match="registered"):
        register_codec(Codec(name="odd", format="x", handles=bool, write=write, read=lambda p, a: None))


ENTRY_CODEC = Codec(
    name="from-entry",
    format="odd",
    handles=lambda value: isinstance(value, Odd),
    write=lambda value, path: (path.write_text("odd"), Written())[1],
    read=lambda path, artifact: "read by the entry point",
)


def test_an_entry_point_is_found_by_the_module_of_the_type(monkeypatch: pytest.MonkeyPatch, store: FolderStore) -> None:
    module = Odd.__module__
    monkeypatch.setitem(sys.modules, "entry_home", sys.modules[module])
    entries = (EntryPoint(module.partition(".")[0], "entry_home:ENTRY_CODEC", "airflow_ml.codecs"),)
    monkeypatch.setattr(codecs, "_entries", lambda: entries)
    assert load_value(store_value(Odd(), store), store) == "read by the entry point"


def test_a_broken_entry_point_is_named(monkeypatch: pytest.MonkeyPatch, store: FolderStore) -> None:
    name = Odd.__module__.partition(".")[0]
    for target, said in (("no.such.module:X", "cannot be loaded"), ("json:dumps", "is not a Codec")):
        entry = EntryPoint(name, target, "airflow_ml.codecs")
        monkeypatch.setattr(codecs, "_entries", lambda entry=entry: (entry,))
        with pytest.raises(ConfigurationError, match=said):
            store_value(Odd(), store)


def test_a_codec_that_is_gone_is_named(store: FolderStore) -> None:
    artifact = store.put_bytes(b"x", format="odd", metadata={"codec": "gone"})
    with pytest.raises(NoCodec, match="gone"):
        load_value(artifact, store)


def test_an_artifact_without_a_codec_is_read_by_its_format(store: FolderStore, tmp_path: Path) -> None:
    frame().to_parquet(tmp_path / "a.parquet")
    assert load_value(store.put_file(tmp_path / "a.parquet", format="parquet"), store).num_rows == 300
    assert load_value(store.put_bytes(b'{"a": 1}', format="json"), store) == {"a": 1}
    assert load_value(store.put_bytes(b"abc", format="unheard-of"), store) == b"abc"


def test_finding_a_codec_imports_no_library() -> None:
    code = (
        "import sys, tempfile, pathlib\n"
        "from airflow_ml.adapters.folder_store import FolderStore\n"
        "from airflow_ml.runtime.codecs import load_value, store_value\n"
        "store = FolderStore(pathlib.Path(tempfile.mkdtemp()))\n"
        "assert load_value(store_value({'a': 1}, store), store) == {'a': 1}\n"
        "heavy = {'pandas', 'numpy', 'pyarrow', 'sklearn', 'skops', 'scipy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# What an attacker may put in place of a file. Each would create the marker if anything in it ran.


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def _hostile_skops(function: str, *arguments: str) -> bytes:
    """A skops file whose root is made by calling a function with constants, in the ways that skops offers."""
    module, _, name = function.rpartition(".")
    texts = [{"__class__": "str", "__module__": "builtins", "__loader__": "JsonNode", "content": json.dumps(a),
              "is_json": True, "__id__": i + 10} for i, a in enumerate(arguments)]  # fmt: skip
    arguments_node = {"__class__": "tuple", "__module__": "builtins", "__loader__": "TupleNode", "content": texts,
                      "__id__": 2}  # fmt: skip
    root = {"__class__": name, "__module__": module, "__loader__": "ConstructorFromReduceNode",
            "content": arguments_node, "__id__": 1, "protocol": 2, "_skops_version": "0.16.0"}  # fmt: skip
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as out:
        out.writestr("schema.json", json.dumps(root))
    return target.getvalue()


@pytest.mark.parametrize(
    "function",
    ["posix.system", "os.system", "subprocess.getoutput", "builtins.eval", "builtins.exec", "builtins.open",
     "numpy.testing._private.utils.runstring", "sklearn.utils._testing.set_random_state",
     "sklearn.datasets._base.load_files", "sklearn.externals._packaging.version.parse", "sklearn.utils.fixes.platform",
     "scipy.io.loadmat", "numpy.load", "numpy.memmap", "operator.methodcaller", "pathlib.Path.touch",
     "sklearn.utils.parallel.delayed"],
)  # fmt: skip
def test_hostile_types_are_not_trusted(function: str) -> None:
    assert not is_trusted(function)


def test_a_class_from_elsewhere_is_not_trusted_through_a_trusted_module() -> None:
    import sklearn.base as module

    assert isinstance(module.defaultdict, type)
    assert not is_trusted("sklearn.base.defaultdict")


@pytest.mark.fault("X7")
@pytest.mark.parametrize(
    "format_", ["skops", "npy", "safetensors", "directory", "parquet", "json", "text", "bytes", "file", "unheard-of"]
)
@pytest.mark.parametrize("kind", ["pickle", "npy", "skops-system", "skops-eval", "skops-pickle-inside"])
def test_nothing_in_a_hostile_file_ever_runs(format_: str, kind: str, store: FolderStore, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    if kind == "pickle":
        data = pickle.dumps(Bomb(marker))
    elif kind == "npy":
        buffer = io.BytesIO()
        np.save(buffer, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
        data = buffer.getvalue()
    elif kind == "skops-system":
        data = _hostile_skops("os.system", f"touch {marker}")
    elif kind == "skops-eval":
        data = _hostile_skops("builtins.eval", f"__import__('pathlib').Path({str(marker)!r}).touch()")
    else:
        target = io.BytesIO()
        with zipfile.ZipFile(target, "w") as out:
            array = io.BytesIO()
            np.save(array, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
            out.writestr("1.npy", array.getvalue())
            node = {"__class__": "ndarray", "__module__": "numpy", "__loader__": "NdArrayNode", "type": "numpy",
                    "file": "1.npy", "__id__": 1, "protocol": 2, "_skops_version": "0.16.0"}  # fmt: skip
            out.writestr("schema.json", json.dumps(node))
        data = target.getvalue()
    artifact = store.put_bytes(data, format=format_)
    try:
        load_value(artifact, store)
    except Exception:
        assert format_ not in ("bytes", "file", "unheard-of")  # those return the bytes as they are
    else:
        assert format_ in ("bytes", "file", "unheard-of")
    assert not marker.exists()


def test_the_bombs_are_live(tmp_path: Path) -> None:
    """The corpus is worth nothing if its files do nothing where they are trusted."""
    import skops.io

    pickle.loads(pickle.dumps(Bomb(tmp_path / "one")))
    assert (tmp_path / "one").exists()
    data = _hostile_skops("os.system", f"touch {tmp_path / 'two'}")
    skops.io.loads(data, trusted=skops.io.get_untrusted_types(data=data))
    assert (tmp_path / "two").exists()


def test_a_changed_blob_is_not_read(store: FolderStore) -> None:
    artifact = store_value("hello", store)
    path = store.path(artifact)
    path.chmod(0o644)
    path.write_text("hellO")
    with pytest.raises(ArtifactCorrupt):
        load_value(artifact, FolderStore(Path(path.parents[3])))


def test_records_that_are_no_records_of_ours_are_refused(store: FolderStore) -> None:
    measure = DriftMeasure(column="a", statistic="psi", value=0.1, threshold=0.2, drifted=False)
    summary = TrialSummary(trial="t", group="g", params={}, value=0.1)
    for value in (measure, summary):
        with pytest.raises(NoCodec):
            store_value(value, store)


def test_artifacts_travel_as_json() -> None:
    artifact = Artifact(digest="sha256:" + "0" * 64, format="bytes", size_bytes=0, uri="")
    assert Artifact.from_dict(artifact.to_dict()) == artifact


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.ma.array([1.0, 2.0], mask=[False, True]), "masked"),
        ({"a": np.ma.array([1.0, 2.0], mask=[False, True])}, "masked"),
        ({"a": np.array([1], dtype=np.longdouble)}, "numbers only"),
        (pd.DataFrame({"a": [2**70]}), "not table data"),
        (pd.DataFrame({"a": pd.arrays.SparseArray([1, 0])}), "not table data"),
        ("half a pair: \ud800", "not text"),
        ({"a": ["half a pair: \ud800"]}, "not text"),
    ],
)
def test_what_would_be_lost_is_refused(value: object, said: str, store: FolderStore) -> None:
    with pytest.raises(NoCodec, match=said):
        store_value(value, store)


def test_a_named_number_keeps_its_shape(store: FolderStore) -> None:
    assert load_value(store_value({"a": np.array(3.0)}, store), store)["a"].shape == ()
