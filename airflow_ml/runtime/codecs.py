"""Codecs: store values as bytes and load them again, without pickle.

    value                                format     codec
    -----------------------------------  ---------  ------------------
    pandas.DataFrame                     parquet    pandas
    polars.DataFrame, polars.LazyFrame   parquet    polars, polars_lazy
    pyarrow.Table, pyarrow Dataset       parquet    pyarrow, dataset
    numpy.ndarray                        npy        numpy
    dict of numpy.ndarray                safetensors arrays
    dict of torch.Tensor (state_dict)    safetensors torch
    scikit-learn estimator               skops      sklearn
    a record of ours                     json       record
    dict, list, tuple, number, bool, None json      json
    str                                  text       text
    bytes                                bytes      bytes
    pathlib.Path of a file               file       file
    pathlib.Path of a folder             directory  a manifest that names each file's blob

A codec is found by the value's type without importing the library that defines it. Further types come from
``register_codec`` or from the entry point group ``airflow_ml.codecs``, where the entry point's name is the top-level
module of the types it stores (``xgboost = "my_package.codecs:XGBOOST"``): it is loaded when such a value is met first.
"""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, cast

from airflow_ml.core.artifact import Artifact, Column
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import ConfigurationError, NoCodec
from airflow_ml.runtime import directory

ENTRY_POINT_GROUP = "airflow_ml.codecs"
#: Keys of ``Artifact.metadata`` that ``store_value`` writes.
CODEC_KEY, NAME_KEY = "codec", "name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What a codec says about the file it wrote."""

    rows: int | None = None
    columns: Sequence[Column] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Codec:
    """How values of some types become one file.

    ``handles`` must not import anything: use ``home_modules(value)``. ``write`` raises NoCodec for a value it cannot
    store without loss; ``read`` must run no code that the file brings along.
    """

    #: Unique; recorded in the artifact's metadata, so that the same codec reads what it wrote.
    name: str
    #: The artifact's format, also the file's suffix.
    format: str
    handles: Callable[[object], bool]
    write: Callable[[Any, Path], Written]
    read: Callable[[Path, Artifact], Any]


_REGISTERED: dict[str, Codec] = {}


def register_codec(codec: Codec) -> None:
    """Make a codec known in this process; it goes before the built-in ones.

    Raises:
        ConfigurationError: another codec has that name.
    """
    known = {**_built_in(), **_REGISTERED}.get(codec.name)
    if known is not None and known != codec:
        raise ConfigurationError("A codec of that name is registered", codec.name, "Give yours another name.")
    _REGISTERED[codec.name] = codec


def store_value(value: object, store: ArtifactStore, *, name: str = "") -> Artifact:
    """Store one value and return the artifact that points to it.

    Args:
        value: Of a type in this module's table, or of one that a registered codec handles.
        store: Where the bytes go.
        name: What the value is, for people; kept in the artifact's metadata.

    Raises:
        NoCodec: no codec stores a value of that type, or this value holds something that cannot be stored safely.
    """
    if directory.is_directory(value):
        return directory.put_directory(cast(Path, value), store, metadata={NAME_KEY: name} if name else None)
    codec = _codec_for(value)
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as folder:  # made with mode 0o700
        path = Path(folder) / f"value.{codec.format}"
        written = codec.write(value, path)
        metadata = {**written.metadata, CODEC_KEY: codec.name, **({NAME_KEY: name} if name else {})}
        return store.put_file(path, format=codec.format, rows=written.rows, columns=written.columns, metadata=metadata)


def load_value(artifact: Artifact, store: ArtifactStore, *, trusted: bool = False) -> Any:
    """Return the value of an artifact, verified against its digest.

    A Parquet artifact that no codec wrote (a snapshot, a feature set) comes back as a ``pyarrow.Table``.

    Args:
        artifact: The artifact.
        store: Where its content is.
        trusted: Load a file that holds a pickle, which runs its author's code; in a clean interpreter only. Without
            it such a file is given as its path.

    Raises:
        ArtifactNotFound, ArtifactCorrupt: as the store does.
        NoCodec: its codec is not installed here, or the file asks for code that is not trusted.
        ConfigurationError: ``trusted`` outside of a clean interpreter.
    """
    if artifact.format == directory.FORMAT:
        return directory.get_directory(artifact, store)
    path = store.path(artifact)
    if trusted:
        from airflow_ml.runtime.trusted_pickle import is_pickle, load_pickle

        if is_pickle(artifact):
            return load_pickle(artifact, path)
    return read_file(artifact, path)


def read_file(artifact: Artifact, path: Path) -> Any:
    """Return the value in a local file that holds an artifact's verified content; raises as ``load_value`` does."""
    return _codec_of(artifact).read(path, artifact)


def home_modules(value: object) -> frozenset[str]:
    """Return the top-level modules of a value's type and of its bases, such as ``{"sklearn", "builtins"}``."""
    return frozenset(str(kind.__module__).partition(".")[0] for kind in type(value).__mro__)


def is_instance(value: object, *qualified: str) -> bool:
    """Tell whether a value's type or one of its bases has one of these names, such as ``pandas.DataFrame``.

    Compared are the top-level module and the class name, since libraries move classes between their own modules.
    """
    wanted = {(name.partition(".")[0], name.rpartition(".")[2]) for name in qualified}
    return any((str(kind.__module__).partition(".")[0], kind.__name__) in wanted for kind in type(value).__mro__)


def _codec_for(value: object) -> Codec:
    for codec in _REGISTERED.values():
        if codec.handles(value):
            return codec
    for entry in _entries():
        if entry.name in home_modules(value) and (codec := _loaded(entry)).handles(value):
            return codec
    for codec in _built_in().values():
        if codec.handles(value):
            return codec
    names = sorted({**_built_in(), **_REGISTERED})
    raise NoCodec(
        "No safe way to store a value of type",
        f"{type(value).__module__}.{type(value).__qualname__}",
        f"Return a value that one of the codecs stores ({', '.join(names)}), write a file and return its pathlib.Path, "
        f"or register a codec for that type (entry point group {ENTRY_POINT_GROUP}). Nothing is ever pickled.",
    )


def _codec_of(artifact: Artifact) -> Codec:
    name = artifact.metadata.get(CODEC_KEY)
    if name is None:
        name = {
            "parquet": "pyarrow",
            "npy": "numpy",
            "safetensors": "arrays",
            "skops": "sklearn",
            "json": "json",
            "text": "text",
        }.get(artifact.format, "bytes")
    known = {**_built_in(), **_REGISTERED}
    if name not in known:
        known.update({codec.name: codec for codec in map(_loaded, _entries())})
    if name not in known:
        raise NoCodec(
            f"The codec that wrote this {artifact.format} artifact is not installed here",
            name,
            f"Install the package that brings it (entry point group {ENTRY_POINT_GROUP}). Known here: {sorted(known)}.",
        )
    return known[name]


@functools.cache
def _built_in() -> dict[str, Codec]:
    from airflow_ml.runtime import codec_plain, codec_sklearn, codec_table, codec_tensors

    groups = (codec_table.CODECS, codec_tensors.CODECS, (codec_sklearn.CODEC,), codec_plain.CODECS)
    return {codec.name: codec for group in groups for codec in group}


@functools.cache
def _entries() -> tuple[EntryPoint, ...]:
    return tuple(entry_points(group=ENTRY_POINT_GROUP))


@functools.cache
def _loaded(entry: EntryPoint) -> Codec:
    try:
        codec = entry.load()
    except Exception as error:  # somebody else's module, which may raise anything while it is imported
        raise ConfigurationError(
            f"The codec of entry point {entry.name} cannot be loaded",
            f"{entry.value}: {error}",
            "Fix or remove the package that provides it.",
        ) from error
    if not isinstance(codec, Codec):
        raise ConfigurationError(
            f"Entry point {entry.name} of {ENTRY_POINT_GROUP} is not a Codec",
            f"{entry.value} is a {type(codec).__qualname__}",
            "Point it to an airflow_ml.runtime.codecs.Codec.",
        )
    return codec
