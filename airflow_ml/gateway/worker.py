"""A model process: loads one model from the store and answers batches over a socket until the gateway hangs up.

Started as ``python -m airflow_ml.gateway.worker <fd> <store uri>``. A frame is two 4-byte lengths, JSON, and float64 in
this machine's order: the gateway never unpickles what a model process says.

A question is ``{"rows": n, "numbers": [names], "columns": {name: values}}``; the numbers' columns follow one another.
An answer is ``{"rows": n}`` and a score for each row, NaN where it is no finite number; or ``{"error": text}``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import socket
import struct
import sys
from typing import TYPE_CHECKING, Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import parse_as
from airflow_ml.errors import AirflowMLError

if TYPE_CHECKING:
    import numpy as np

    from airflow_ml.runtime.grouped_model import GroupedModel

HEADER = struct.Struct("!II")


def read_frame(connection: socket.socket) -> tuple[Any, bytearray] | None:
    """Return the next message and its numbers, or None at the end of the stream."""
    head = _read_exactly(connection, HEADER.size)
    if head is None:
        return None
    size, numbers_size = HEADER.unpack(head)
    body = _read_exactly(connection, size + numbers_size)
    return None if body is None else (json.loads(body[:size]), body[size:])


def encode_frame(message: object, numbers: bytes = b"") -> bytes:
    """Return a message and its numbers with their lengths before them."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return HEADER.pack(len(body), len(numbers)) + body + numbers


def serve(connection: socket.socket, store_uri: str) -> None:
    """Load the model that the first frame names, say what it needs, then answer."""
    import pandas  # noqa: F401 - ahead of the first request

    from airflow_ml.adapters.object_store import open_store
    from airflow_ml.runtime.grouped_model import GroupedModel

    for name in ("skops.io", "sklearn.ensemble"):
        # What most models need, before it is known which: a process in waiting has its imports behind it.
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    first = read_frame(connection)
    if first is None:
        return
    try:
        model = GroupedModel.load(open_store(store_uri), parse_as(Artifact, first[0]))
    except Exception as error:
        connection.sendall(encode_frame({"error": _describe(error)}))
        return
    # The group's name depends on its type ("3", "3.0", "true"), so a group never travels as a number.
    numbers = [name for name in model.features if name not in model.categories and name != model.by]
    connection.sendall(encode_frame({"columns": list(model.columns), "numbers": numbers}))
    while (question := read_frame(connection)) is not None:
        try:
            answer = encode_frame({"rows": question[0]["rows"]}, predict(model, *question).tobytes())
        except Exception as error:
            answer = encode_frame({"error": _describe(error)})
        connection.sendall(answer)


def predict(model: GroupedModel, question: dict[str, Any], numbers: bytearray) -> np.ndarray[Any, Any]:
    """Return the scores of a question's rows, NaN for those that are no finite number."""
    import numpy as np
    import pandas as pd

    names, columns = question["numbers"], question["columns"]
    values = np.frombuffer(numbers, dtype=np.float64).reshape(len(names), question["rows"])
    if names == list(model.features):
        scores = model.predict_numbers(values.T, None if model.by is None else columns[model.by])
    else:
        scores = model.predict(pd.DataFrame({**dict(zip(names, values, strict=True)), **columns}))
    return np.where(np.isfinite(scores), scores, np.nan)


def _describe(error: Exception) -> str:
    # Our own messages are made for people; a library's message may quote data.
    return str(error) if isinstance(error, AirflowMLError) else f"{type(error).__name__} in the model"


def _read_exactly(connection: socket.socket, size: int) -> bytearray | None:
    parts = bytearray()
    while len(parts) < size:
        chunk = connection.recv(min(size - len(parts), 1 << 20))
        if not chunk:
            return None
        parts += chunk
    return parts


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
