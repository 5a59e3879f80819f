"""What stands before every request: a session, or no answer. And what no answer leaves without."""

from __future__ import annotations

import logging
import uuid
from urllib.parse import urlsplit

from fastapi import HTTPException, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from airflow_ml.plugin.auth import session_user
from airflow_ml.plugin.web.answer import problem

_LOG = logging.getLogger(__name__)

#: On every answer. The pages are JSON and one script; nothing here is ever a document of its own.
SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


#: The body of what changes something is an action and a sentence.
_LARGEST_BODY_BYTES = 64 * 1024


def check_origin(request: Request) -> None:
    """Refuse what another site made a browser send.

    A cookie comes along with any request, so the request must say that Airflow's own page sent it: by its ``Origin``,
    which a page cannot forge. A script with a token of its own sends no cookie and needs no origin.

    Raises:
        HTTPException: 403 for another origin, 413 and 415 for a body that is none of ours.
    """
    origin, site = request.headers.get("origin"), request.headers.get("sec-fetch-site")
    by_token = request.headers.get("authorization", "").lower().startswith("bearer ")
    if site not in (None, "same-origin") or (origin is None and not by_token):
        raise HTTPException(403, "The request does not come from Airflow's own pages.")
    if origin is not None and origin not in _own_origins(request):
        raise HTTPException(403, "The request comes from another origin.")
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise HTTPException(415, "Send JSON.")
    length = request.headers.get("content-length", "")
    if not length.isdigit() or int(length) > _LARGEST_BODY_BYTES:
        raise HTTPException(413, "The body is too large, or does not say how large it is.")


def _own_origins(request: Request) -> set[str]:
    """Return the origins under which Airflow is served: as configured, and as this request was addressed."""
    from airflow.sdk import conf

    configured = urlsplit(str(conf.get("api", "base_url", fallback="") or ""))
    host = request.headers.get("host", "")
    found = {f"{request.url.scheme}://{host}"} if host else set()
    return found | ({f"{configured.scheme}://{configured.netloc}"} if configured.netloc else set())


class Guard:
    """Lets a request with a session through, and turns what nobody foresaw into a number in the log.

    Routes that do not exist are behind it, too, as are methods that a route does not have.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return
        begun = False

        async def with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                names = {name.lower() for name, _ in message["headers"]}
                more = {**SECURITY_HEADERS, "Cache-Control": "no-store"}
                message["headers"] = [
                    *message["headers"],
                    *(
                        (key.encode(), value.encode())
                        for key, value in more.items()
                        if key.lower().encode() not in names
                    ),
                ]
            await send(message)

        try:
            scope.setdefault("state", {})["ml_user"] = await session_user(Request(scope))
            if scope["method"] == "OPTIONS":
                # The answer to the question of another origin: no page but Airflow's own may ask anything here.
                raise HTTPException(403, "Forbidden")
            if scope["method"] not in ("GET", "HEAD"):
                check_origin(Request(scope))
            await self._app(scope, receive, with_headers)
        except HTTPException as error:
            await problem(error.status_code, str(error.detail))(scope, receive, with_headers)
        except Exception:
            number = uuid.uuid4().hex[:12]
            _LOG.exception("Request %s of the ML pages failed: %s %r", number, scope["method"], scope["path"])
            if begun:
                raise
            answer = problem(500, "Something went wrong.", "The log of the API server has the cause.", error_id=number)
            await answer(scope, receive, with_headers)
