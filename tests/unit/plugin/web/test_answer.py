"""What becomes of a read model's answer, and of each of its errors."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import HTTPException

from airflow_ml.errors import ArtifactCorrupt, ArtifactNotFound, ConfigurationError, InvalidKey
from airflow_ml.hooks.store import store_uri
from airflow_ml.plugin.views.parts import NotHere
from airflow_ml.plugin.web.answer import answer


def ask(read: Callable[..., Any]) -> Any:
    return json.loads(bytes(asyncio.run(answer(read)).body))


def test_every_browser_can_read_it() -> None:
    assert ask(lambda: {"a": [1.5, math.nan, -math.inf], "b": "half \ud83d"}) == {"a": [1.5, None, None], "b": "half ?"}


def test_without_a_store_it_says_what_to_set() -> None:
    with pytest.raises(HTTPException) as found:
        ask(store_uri)
    assert (found.value.status_code, found.value.detail) == (503, "No artifact store is configured")
    assert "AIRFLOW__ML__ARTIFACT_STORE" in found.value.remedy  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (NotHere("a run of somebody else"), 404, "Not found"),
        (ArtifactNotFound("no such blob", "sha256:0", "Look."), 404, "Not found"),
        (InvalidKey("not a key", "..", "Write another."), 404, "Not found"),
        (ConfigurationError("no store", "empty", "Set it."), 503, "no store"),
        (
            ArtifactCorrupt("other bytes", "x", "Ask."),
            503,
            "ArtifactCorrupt: the artifact store cannot be read.",
        ),
        (PermissionError("/secret/path"), 503, "PermissionError: the artifact store cannot be read."),
    ],
)
def test_an_error_tells_no_more_than_it_may(error: Exception, status: int, detail: str) -> None:
    def read() -> None:
        raise error

    with pytest.raises(HTTPException) as found:
        ask(read)
    assert (found.value.status_code, found.value.detail) == (status, detail)
