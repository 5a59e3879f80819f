"""The gateway's HTTP: bodies in, records out, each error with its status and without details that help an attacker."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import msgspec
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from airflow_ml.core.ports import Reading
from airflow_ml.core.record import JSON, encode
from airflow_ml.errors import AirflowMLError, ConfigurationError, FencedOut, ModelNotFound
from airflow_ml.gateway.answers_json import answers_to_wire
from airflow_ml.gateway.batch_json import batch_from_json
from airflow_ml.gateway.service import Gateway
from airflow_ml.gateway.wire import check_model, outcomes_from_wire, traffic_from_wire, traffic_to_wire

TRAFFIC_LIMIT_BYTES = 64 * 1024
BATCH_LIMIT_BYTES = 16 * 1024 * 1024
#: How long a client may take to send a body.
BODY_SECONDS = 60.0
#: Whatever else the client sends is no request.
_CLOSE = {"Connection": "close"}
_STATUS = ((FencedOut, 409), (ModelNotFound, 404))

_log = logging.getLogger("airflow_ml.gateway")


class _App:
    def __init__(self, gateway: Gateway, token: str, open_reads: bool) -> None:
        self._gateway = gateway
        self._token = token
        self._open_reads = open_reads

    async def put_traffic(self, request: Request) -> Response:
        self._authorize(request)
        body = await _body(request, TRAFFIC_LIMIT_BYTES)
        if not isinstance(body, dict) or body.get("model") != request.path_params["model"]:
            raise ConfigurationError(
                "The body's model is not the address's",
                request.path_params["model"],
                "Name the same model in both, with the body that reading traffic returns.",
            )
        return _json(traffic_to_wire(await self._gateway.set_traffic(traffic_from_wire(body))))

    async def get_traffic(self, request: Request) -> Response:
        self._authorize(request, reads=True)
        return _json(traffic_to_wire(self._gateway.traffic(_model(request))))

    async def predict(self, request: Request) -> Response:
        # An arm by name is a trial. Who may set the traffic may ask for one: others must not choose who answers them.
        arm = request.query_params.get("arm", "")
        self._authorize(request, reads=not arm)
        model = _model(request)
        batch = batch_from_json(await _bytes(request, BATCH_LIMIT_BYTES), _parse)
        answers = await (self._gateway.try_out(model, arm, batch) if arm else self._gateway.predict(model, batch))
        status = 200
        if len(batch) and not answers.scored:
            status = 422 if len(answers.mismatches) == len(batch) else 503
        return _json({"model": model, **answers_to_wire(batch, answers)}, status)

    async def outcomes(self, request: Request) -> Response:
        self._authorize(request, reads=True)
        watermark_at, outcomes = outcomes_from_wire(await _body(request, BATCH_LIMIT_BYTES))
        await self._gateway.add_outcomes(_model(request), outcomes, watermark_at)
        return _json({"taken": len(outcomes)})

    async def metrics(self, request: Request) -> Response:
        self._authorize(request, reads=True)
        epoch = request.query_params.get("epoch", "")
        if not epoch.isascii() or not epoch.isdigit() or len(epoch) > 18:
            raise ConfigurationError("epoch is wrong", ascii(epoch)[:40], "It is a whole number from 0 on.")
        report = await self._gateway.metrics(
            _model(request), metric=request.query_params.get("metric", ""), epoch=int(epoch)
        )
        return _json(
            {
                **reading_to_wire(report.reading),
                "fallbacks": dict(report.fallbacks),
                "without_outcome": dict(report.without_outcome),
            }
        )

    async def health(self, request: Request) -> Response:
        ready, state = self._gateway.health()
        shown = state if self._is_authorized(request, reads=True) else {}
        return _json({"status": "ok" if ready else "loading", **shown}, 200 if ready else 503)

    def _is_authorized(self, request: Request, *, reads: bool) -> bool:
        if not self._token or (reads and self._open_reads):
            return True
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        # Bytes, since compare_digest refuses text beyond ASCII.
        return scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), self._token.encode())

    def _authorize(self, request: Request, *, reads: bool = False) -> None:
        if not self._is_authorized(request, reads=reads):
            raise HTTPException(401, "A control token is needed.", headers={"WWW-Authenticate": "Bearer"})


def make_app(
    make_gateway: Callable[[], Gateway], *, token: str = "", hosts: tuple[str, ...] = (), open_reads: bool = True
) -> Starlette:
    """Return the ASGI application.

    Args:
        make_gateway: Called in the event loop at the start.
        token: Control token for writes of traffic; empty means that none is asked for.
        hosts: Accepted Host headers, against DNS rebinding; empty accepts all.
        open_reads: Whether scoring, outcomes and metrics are open; otherwise they need the token too.
    """

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        gateway = make_gateway()
        gateway.start()
        surface = _App(gateway, token, open_reads)
        one = "/v1/models/{model}"
        app.router.routes.extend(
            [
                Route(f"{one}/traffic", surface.put_traffic, methods=["PUT"]),
                Route(f"{one}/traffic", surface.get_traffic, methods=["GET"]),
                Route(f"{one}/predict", surface.predict, methods=["POST"]),
                Route(f"{one}/outcomes", surface.outcomes, methods=["POST"]),
                Route(f"{one}/metrics", surface.metrics, methods=["GET"]),
                Route("/healthz", surface.health, methods=["GET"]),
            ]
        )
        try:
            yield
        finally:
            await gateway.close()

    return Starlette(
        lifespan=lifespan,
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))] if hosts else [],
        exception_handlers={AirflowMLError: _known, HTTPException: _http, Exception: _unknown},
    )


def reading_to_wire(reading: Reading) -> Mapping[str, JSON]:
    """Return the JSON form of a reading."""
    wire = encode(reading)
    return wire if isinstance(wire, dict) else {}


def _model(request: Request) -> str:
    return check_model(request.path_params["model"])


async def _body(request: Request, limit_bytes: int) -> Any:
    return _parse(await _bytes(request, limit_bytes))


async def _bytes(request: Request, limit_bytes: int) -> bytearray:
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send application/json.")
    data = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                data += chunk
                if len(data) > limit_bytes:
                    raise HTTPException(413, f"The body is over {limit_bytes} bytes.", headers=_CLOSE)
    except TimeoutError:
        raise HTTPException(408, f"The body took over {BODY_SECONDS:g} seconds.", headers=_CLOSE) from None
    except ClientDisconnect:
        raise HTTPException(400, "The client hung up.") from None  # nobody hears it
    return data


def _parse(data: bytes | bytearray) -> Any:
    try:
        value = json.loads(data, parse_constant=_no_constant)
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()  # A lone surrogate is no text.
    except (ValueError, RecursionError) as error:
        raise ConfigurationError(
            "The body is not JSON", type(error).__name__, "Send one JSON object in UTF-8."
        ) from error
    return value


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _json(body: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(body), status, headers, media_type="application/json")


async def _known(request: Request, error: Exception) -> Response:
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 422)
    body: dict[str, JSON] = {"error": str(error)}
    if isinstance(error, AirflowMLError):
        body |= {"kind": type(error).__name__, "what": error.what, "actual": str(error.actual), "remedy": error.remedy}
    return _json(body, status)


async def _http(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        return await _unknown(request, error)
    return _json({"error": error.detail}, error.status_code, error.headers)


async def _unknown(request: Request, error: Exception) -> Response:
    # The caller gets a number to quote; what happened is for the log.
    number = secrets.token_hex(4)
    _log.error("request failed, id %s", number)
    return _json({"error": "The gateway failed.", "id": number}, 500)
