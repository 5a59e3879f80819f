"""From a read model to an answer: in a thread, within limits, as JSON that every browser can read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import anyio
from fastapi import HTTPException
from starlette.responses import Response

from airflow_ml.errors import AirflowMLError, ArtifactNotFound, ConfigurationError, InvalidKey
from airflow_ml.plugin.views.parts import NotHere

#: Reads at the same time in one process: a store that hangs must not use up the threads of Airflow's own API.
THREADS = 8
#: A page does not wait longer.
TIMEOUT_SECONDS = 20.0

_limiter: anyio.CapacityLimiter | None = None


async def answer(read: Callable[..., Any], *arguments: Any, **named: Any) -> Response:
    """Run a read model in a thread of our own share and return its JSON.

    Raises:
        HTTPException: 404 for what is not there, 503 for a store that does not answer or is not configured.
    """
    global _limiter
    if _limiter is None:
        _limiter = anyio.CapacityLimiter(THREADS)
    try:
        with anyio.fail_after(TIMEOUT_SECONDS):
            found = await anyio.to_thread.run_sync(
                partial(_encoded, read, *arguments, **named), limiter=_limiter, abandon_on_cancel=True
            )
    except NotHere as error:
        raise HTTPException(404, "Not found") from error
    except (ArtifactNotFound, InvalidKey) as error:
        raise HTTPException(404, "Not found") from error
    except TimeoutError as error:
        raise Problem(503, "The artifact store does not answer in time.", "Try again later.") from error
    except ConfigurationError as error:
        raise Problem(503, error.what, error.remedy) from error
    except (AirflowMLError, OSError) as error:
        raise Problem(503, f"{type(error).__name__}: the artifact store cannot be read.", "Try again later.") from error
    return found if isinstance(found, Response) else Response(found, media_type="application/json")


class Problem(HTTPException):
    """An HTTP error with what can be done about it."""

    def __init__(self, status_code: int, detail: str, remedy: str = "") -> None:
        super().__init__(status_code, detail)
        self.remedy = remedy


def problem(status: int, detail: str, remedy: str = "", **more: str) -> Response:
    """Return an error's answer."""
    body = encoded({"detail": detail, "remedy": remedy, **more})
    return Response(body, status_code=status, media_type="application/json")


def encoded(value: Any) -> bytes:
    """Return JSON in UTF-8. Numbers that JSON does not have become null, halves of characters a question mark."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.encode("utf-8", "replace")


def _encoded(read: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    found = read(*arguments, **named)
    return found if isinstance(found, Response) else encoded(found)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value
