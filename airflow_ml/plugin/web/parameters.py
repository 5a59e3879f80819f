"""What a request may carry: names with a length, numbers with a range. None of it is a path or an address."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query
from pydantic import AfterValidator


def _no_control_characters(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("control characters")
    return value


_plain = AfterValidator(_no_control_characters)

#: The name must be ``dag_id``: it is the one by which Airflow's authorization finds it.
DagId = Annotated[str, Path(min_length=1, max_length=250), _plain]
RunId = Annotated[str, Query(min_length=1, max_length=250), _plain]
TaskId = Annotated[str, Query(min_length=1, max_length=250), _plain]
MapIndex = Annotated[int, Query(ge=-1, le=1_000_000)]
Trial = Annotated[str, Query(min_length=1, max_length=64), _plain]
Digest = Annotated[str, Query(pattern=r"^sha256:[0-9a-f]{64}$")]
Model = Annotated[str, Path(min_length=1, max_length=250), _plain]
Dataset = Annotated[str, Path(min_length=1, max_length=250), _plain]
Version = Annotated[str, Query(min_length=1, max_length=64), _plain]
Epoch = Annotated[int | None, Query(ge=0, le=2**53)]
Limit = Annotated[int, Query(ge=1, le=200)]
Offset = Annotated[int, Query(ge=0, le=10_000_000)]
Points = Annotated[int, Query(ge=1, le=2_000)]
Picture = Annotated[str, Query(pattern=r"^[a-z_]{1,64}$")]
Word = Annotated[str, Query(max_length=250), _plain]
