"""The codec of named tensors: safetensors, which holds numbers and shapes and no code.

A PyTorch ``state_dict()`` comes back as a dict of tensors on the CPU, a dict of numpy arrays as one of arrays.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.errors import MissingDependency, NoCodec
from airflow_ml.runtime.codec_table import refuse_masked
from airflow_ml.runtime.codecs import Codec, Written, is_instance

_LARGEST_BYTES = 8


def _handles(kind: str) -> Any:
    def handles(value: object) -> bool:
        return isinstance(value, Mapping) and bool(value) and all(is_instance(item, kind) for item in value.values())

    return handles


def _names(value: Mapping[str, Any]) -> None:
    for name in value:
        if not isinstance(name, str):
            raise NoCodec("A tensor's name is not text", repr(name), "Give each tensor a name of type str.")


def _module(name: str) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise MissingDependency(
            "Named tensors are stored by safetensors", str(error), "Install safetensors beside the library."
        ) from error


def _write_torch(value: Mapping[str, Any], path: Path) -> Written:
    _names(value)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in value.items()}
    try:
        _module("safetensors.torch").save_file(tensors, str(path))
    except RuntimeError as error:
        raise NoCodec(
            "Tensors that share their memory cannot be stored apart", str(error)[:300], "Store a clone() of one."
        ) from error
    return Written(metadata={"tensors": str(len(tensors))})


def _write_numpy(value: Mapping[str, Any], path: Path) -> Written:
    import numpy as np

    _names(value)
    for name, array in value.items():
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > _LARGEST_BYTES:
            raise NoCodec(
                "safetensors holds numbers only",
                f"{name} has dtype {array.dtype}",
                "Store it as an array of its own, or turn it into numbers of at most 8 bytes.",
            )
        refuse_masked(array, name)
    arrays = {name: np.asarray(array, order="C") for name, array in value.items()}
    _module("safetensors.numpy").save_file(arrays, str(path))
    return Written(metadata={"tensors": str(len(arrays))})


def _read(library: str) -> Any:
    def read(path: Path, artifact: Artifact) -> dict[str, Any]:
        module = _module(f"safetensors.{library}")
        try:
            loaded: dict[str, Any] = module.load_file(str(path))
        except Exception as error:  # the library's own class lies in a compiled module
            raise NoCodec("Not a safetensors file", f"{artifact.digest}: {error}", "Store named tensors.") from error
        return loaded

    return read


TORCH_CODEC = Codec(
    name="torch",
    format="safetensors",
    handles=_handles("torch.Tensor"),
    write=_write_torch,
    read=_read("torch"),
)
ARRAYS_CODEC = Codec(
    name="arrays",
    format="safetensors",
    handles=_handles("numpy.ndarray"),
    write=_write_numpy,
    read=_read("numpy"),
)
CODECS = (TORCH_CODEC, ARRAYS_CODEC)
