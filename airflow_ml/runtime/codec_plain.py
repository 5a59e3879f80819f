"""Codecs of plain Python values: JSON, records, text, bytes and files."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.fingerprint import canonical_json
from airflow_ml.core.record import Record, parse
from airflow_ml.errors import NoCodec
from airflow_ml.runtime.codecs import Codec, Written

_FILE_NAME = "file_name"


def _write_json(value: object, path: Path) -> Written:
    _check_json(value, "value")
    try:
        path.write_bytes(canonical_json(value))
    except UnicodeEncodeError as error:
        raise _no_text(error) from error
    return Written()


def _check_json(value: object, where: str) -> None:
    if value is None or isinstance(value, bool | int | str):
        return
    if isinstance(value, float):
        if not math.isfinite(value):
            raise NoCodec("JSON has no such number", f"{where} is {value!r}", "Use None for a number that is absent.")
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise NoCodec("A JSON object has text keys only", f"{where} has {key!r}", "Turn the keys into str.")
            _check_json(item, f"{where}[{key!r}]")
        return
    if isinstance(value, list | tuple):
        for position, item in enumerate(value):
            _check_json(item, f"{where}[{position}]")
        return
    raise NoCodec(
        "Not JSON",
        f"{where} is a {type(value).__module__}.{type(value).__qualname__}",
        "Keep to numbers, text, lists and dicts inside, or return the object itself if a codec stores it.",
    )


def _write_record(value: Record, path: Path) -> Written:
    path.write_bytes(canonical_json(value.to_dict()))
    return Written()


def _write_text(value: str, path: Path) -> Written:
    try:
        path.write_bytes(value.encode("utf-8"))
    except UnicodeEncodeError as error:
        raise _no_text(error) from error
    return Written()


def _no_text(error: UnicodeEncodeError) -> NoCodec:
    around = error.object[max(error.start - 10, 0) : error.end + 10]
    return NoCodec(
        "A text holds a character that is not text",
        f"half of a surrogate pair in {around!r}",
        "Decode bytes with errors='replace' instead of 'surrogateescape', or return bytes.",
    )


def _write_bytes(value: bytes, path: Path) -> Written:
    path.write_bytes(value)
    return Written()


def _write_file(value: Path, path: Path) -> Written:
    if not value.is_file():
        raise NoCodec("Not a file", str(value), "Return the path of an existing file or folder.")
    shutil.copyfile(value, path)
    return Written(metadata={_FILE_NAME: value.name})


def _read_json(path: Path, artifact: Artifact) -> Any:
    return json.loads(path.read_bytes())


#: JSON has no tuples: a tuple comes back as a list.
JSON_CODEC = Codec(
    name="json",
    format="json",
    handles=lambda value: value is None or isinstance(value, bool | int | float | dict | list | tuple),
    write=_write_json,
    read=_read_json,
)
RECORD_CODEC = Codec(
    name="record",
    format="json",
    handles=lambda value: isinstance(value, Record),
    write=_write_record,
    read=lambda path, artifact: parse(json.loads(path.read_bytes())),
)
TEXT_CODEC = Codec(
    name="text",
    format="text",
    handles=lambda value: isinstance(value, str),
    write=_write_text,
    read=lambda path, artifact: path.read_bytes().decode("utf-8"),
)
BYTES_CODEC = Codec(
    name="bytes",
    format="bytes",
    handles=lambda value: isinstance(value, bytes | bytearray),
    write=_write_bytes,
    read=lambda path, artifact: path.read_bytes(),
)
#: Comes back as the path of a verified, read-only copy in the store.
FILE_CODEC = Codec(
    name="file",
    format="file",
    handles=lambda value: isinstance(value, Path),
    write=_write_file,
    read=lambda path, artifact: path,
)
CODECS = (RECORD_CODEC, JSON_CODEC, TEXT_CODEC, BYTES_CODEC, FILE_CODEC)
