"""A model process: loads one model from the store and answers batches over a socket until the gateway hangs up.

Started as ``python -m airflow_ml.gateway.worker <fd> <store uri>``. Frames are a 4-byte length and JSON: the gateway
never unpickles what a model process says.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import math
import socket
import struct
import sys
from typing import Any

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.record import parse_as
from airflow_ml.errors import AirflowMLError

HEADER = struct.Struct("!I")


def read_frame(connection: socket.socket) -> Any:
    """Return the next message, or None at the end of the stream."""
    head = _read_exactly(connection, HEADER.size)
    if head is None:
        return None
    body = _read_exactly(connection, HEADER.unpack(head)[0])
    return None if body is None else json.loads(body)


def encode_frame(message: object) -> bytes:
    """Return a message with its length before it."""
    body = json.dumps(message, separators=(",", ":")).encode()
    return HEADER.pack(len(body)) + body


def serve(connection: socket.socket, store_uri: str) -> None:
    """Load the model that the first frame names, say what it needs, then answer."""
    import pandas as pd

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
        model = GroupedModel.load(open_store(store_uri), parse_as(Artifact, first))
    except Exception as error:
        connection.sendall(encode_frame({"error": _describe(error)}))
        return
    columns = list(dict.fromkeys([*model.features, *([model.by] if model.by else [])]))
    connection.sendall(encode_frame({"columns": columns}))
    while (request := read_frame(connection)) is not None:
        try:
            scores = model.predict(pd.DataFrame(request["columns"]))
            answer: dict[str, object] = {"scores": [_number(score) for score in scores]}
        except Exception as error:
            answer = {"error": _describe(error)}
        connection.sendall(encode_frame(answer))


def _number(value: Any) -> float | None:
    number = float(value)
    return number if math.isfinite(number) else None


def _describe(error: Exception) -> str:
    # Our own messages are made for people; a library's message may quote data.
    return str(error) if isinstance(error, AirflowMLError) else f"{type(error).__name__} in the model"


def _read_exactly(connection: socket.socket, size: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < size:
        chunk = connection.recv(min(size - len(parts), 1 << 20))
        if not chunk:
            return None
        parts += chunk
    return bytes(parts)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])), sys.argv[2])
