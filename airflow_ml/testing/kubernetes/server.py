"""The HTTP side of the double: paths, verbs and answers of a Kubernetes API server."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import yaml
from aiohttp import web

from airflow_ml.testing.kubernetes.access import Access
from airflow_ml.testing.kubernetes.discovery import discover
from airflow_ml.testing.kubernetes.exec import Exec
from airflow_ml.testing.kubernetes.faults import CUT, Faults, error_of
from airflow_ml.testing.kubernetes.kueue import Kueue
from airflow_ml.testing.kubernetes.logs import Logs
from airflow_ml.testing.kubernetes.objects import Objects
from airflow_ml.testing.kubernetes.requests import RequestCount
from airflow_ml.testing.kubernetes.resources import KINDS, PODS, WORKLOADS, ApiError, Kind, Object
from airflow_ml.testing.kubernetes.selectors import selector
from airflow_ml.testing.kubernetes.verbs import Verbs
from airflow_ml.testing.kubernetes.watch import watch

_PATH = re.compile(
    r"^/(?:api/(?P<core>v1)|apis/(?P<group>[^/]+/[^/]+))"
    r"(?:/namespaces/(?P<namespace>[^/]+)(?=/[^/]))?"
    r"/(?P<plural>[^/]+)(?:/(?P<name>[^/]+)(?:/(?P<sub>[^/]+))?)?/?$"
)
_VERBS = {"GET": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_REVIEWS = {"selfsubjectaccessreviews"}
#: Subresources that are parts of the object itself.
_PARTS = ("", "status", "scale")


@dataclass(frozen=True, slots=True)
class Target:
    """What a request is about."""

    verb: str
    api_version: str
    plural: str
    namespace: str
    name: str
    sub: str

    @property
    def resource(self) -> str:
        """The name of the resource in permissions and counts."""
        return f"{self.plural}/{self.sub}" if self.sub else self.plural


class Server:
    """Answers requests from the store."""

    def __init__(
        self,
        *,
        objects: Objects,
        verbs: Verbs,
        logs: Logs,
        exec: Exec,
        faults: Faults,
        access: Access,
        requests: RequestCount,
        kueue: Kueue | None,
        token: str,
    ) -> None:
        self._objects = objects
        self._verbs = verbs
        self._logs = logs
        self._exec = exec
        self._faults = faults
        self._access = access
        self._requests = requests
        self._kueue = kueue
        self._token = token

    def application(self) -> web.Application:
        """Return the aiohttp application."""
        application = web.Application(client_max_size=1 << 26, middlewares=[self._guard])
        application.router.add_route("*", "/{path:.*}", self._answer)
        return application

    @web.middleware
    async def _guard(
        self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        try:
            sent = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if not hmac.compare_digest(sent.encode(), self._token.encode()):
                raise ApiError(401, "Unauthorized", "Unauthorized")
            return await handler(request)
        except ApiError as error:
            if error.code == CUT:
                if request.transport is not None:
                    request.transport.abort()
                raise web.HTTPServiceUnavailable from None
            headers = {}
            if error.retry_after_seconds is not None:
                headers["Retry-After"] = f"{error.retry_after_seconds:g}"
            return web.json_response(error.body(), status=error.code, headers=headers)

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        target = _target(request)
        if target is None:
            if request.path == "/double/requests":
                return web.json_response(self._requests.to_dict())
            return web.json_response(discover(request.path, kueue=self._kueue is not None))
        self._requests.add(target.verb, target.resource)
        fault = self._faults.for_request(target.verb, target.resource, target.name)
        if fault is not None:
            await asyncio.sleep(fault.delay_seconds)
            if fault.status != 200:
                raise error_of(fault)
        group = target.api_version.rpartition("/")[0]
        if target.plural in _REVIEWS:
            return web.json_response(self._access.review(await _body(request)), status=201)
        if group.endswith("kueue.x-k8s.io"):
            if self._kueue is None or target.api_version != self._kueue.version_of(group):
                raise ApiError(404, "NotFound", "the server could not find the requested resource")
            self._access.require(target.verb, target.resource, group, target.namespace)
            if target.sub == "pendingworkloads":
                return web.json_response(self._kueue.pending(target.namespace, target.name, request.query))
            target = replace(target, api_version=WORKLOADS.api_version)
        else:
            self._access.require(target.verb, target.resource, group, target.namespace)
        kind = KINDS.get((target.api_version, target.plural))
        if kind is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        if target.name:
            return await self._one(request, target, kind)
        return await self._many(request, target, kind)

    async def _many(self, request: web.Request, target: Target, kind: Kind) -> web.StreamResponse:
        namespace = target.namespace or None
        if target.verb == "watch":
            fault = self._faults.for_watch(target.plural)
            return await watch(request, self._objects, kind, namespace, fault)
        if target.verb == "list":
            return self._list(request, kind, namespace)
        if target.verb == "create":
            body = await _body(request)
            created = self._verbs.create(kind, target.namespace, body, dry_run=bool(request.query.get("dryRun")))
            return web.json_response(created, status=201)
        if target.verb == "deletecollection":
            options = {**await _options(request)}
            test = selector(request.query)
            for item in self._objects.items(kind, namespace):
                if test is None or test(item):
                    self._verbs.delete(kind, item, options)
            return self._list(request, kind, namespace)
        raise ApiError(405, "MethodNotAllowed", f"{request.method} is not allowed on {target.plural}")

    async def _one(self, request: web.Request, target: Target, kind: Kind) -> web.StreamResponse:
        namespace, name, sub = target.namespace, target.name, target.sub
        found = self._objects.find(kind, namespace, name)
        if found is None and target.verb == "patch" and "apply-patch" in request.content_type:
            body = await _body(request)
            body["metadata"]["name"] = name
            return web.json_response(self._verbs.create(kind, namespace, body, dry_run=False), status=201)
        item = self._objects.get(kind, namespace, name)
        if kind is PODS and sub == "log":
            return await self._logs.serve(request, item)
        if kind is PODS and sub == "exec":
            return await self._exec.serve(request, item)
        if kind is PODS and sub == "eviction" and target.verb == "create":
            self._verbs.kubelet.disrupt(item, "evict_by_api")
            return web.json_response({"kind": "Status", "apiVersion": "v1", "status": "Success"}, status=201)
        if sub not in _PARTS:
            raise ApiError(404, "NotFound", f"the double has no subresource {sub} of {target.plural}")
        if target.verb == "get":
            return web.json_response(item)
        if target.verb == "delete":
            return web.json_response(self._verbs.delete(kind, item, await _options(request)))
        if target.verb not in ("update", "patch"):
            raise ApiError(405, "MethodNotAllowed", f"{request.method} is not allowed on {target.resource}")
        content_type = request.content_type if target.verb == "patch" else ""
        dry_run = bool(request.query.get("dryRun"))
        return web.json_response(
            self._verbs.change(kind, item, await _body(request), content_type, part=sub, dry_run=dry_run)
        )

    def _list(self, request: web.Request, kind: Kind, namespace: str | None) -> web.Response:
        """Answer a list, in pages where a limit is asked for."""
        query = request.query
        test = selector(query)
        entries = self._objects.collection(kind).entries
        chosen = [
            (key, entry)
            for key, entry in entries.items()
            if (namespace is None or key[0] == namespace) and (test is None or test(entry.item))
        ]
        metadata: dict[str, Any] = {"resourceVersion": str(self._objects.version)}
        limit = int(query.get("limit") or 0)
        if limit:
            chosen.sort(key=lambda pair: pair[0])
            if query.get("continue"):
                version, last = json.loads(base64.urlsafe_b64decode(query["continue"]))
                metadata["resourceVersion"] = version
                chosen = [pair for pair in chosen if list(pair[0]) > last]
            if len(chosen) > limit:
                metadata["remainingItemCount"] = len(chosen) - limit
                chosen = chosen[:limit]
                token = json.dumps([metadata["resourceVersion"], list(chosen[-1][0])])
                metadata["continue"] = base64.urlsafe_b64encode(token.encode()).decode()
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version, "metadata": metadata}
        items = b",".join(entry.encoded for _, entry in chosen)
        return web.Response(
            body=json.dumps(head).encode()[:-1] + b',"items":[' + items + b"]}", content_type="application/json"
        )


def _target(request: web.Request) -> Target | None:
    found = _PATH.match(request.path)
    if found is None:
        return None
    name, verb = found["name"] or "", _VERBS.get(request.method, "get")
    if verb == "get" and not name:
        verb = "watch" if request.query.get("watch") in ("true", "True", "1") else "list"
    elif verb == "delete" and not name:
        verb = "deletecollection"
    version = found["core"] or found["group"]
    return Target(verb, version, found["plural"], found["namespace"] or "", name, found["sub"] or "")


async def _body(request: web.Request) -> Any:
    text = await request.text()
    try:
        return yaml.safe_load(text) if "yaml" in request.content_type else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ApiError(400, "BadRequest", f"the body cannot be read: {error}") from error


async def _options(request: web.Request) -> Object:
    options: Object = dict(request.query)
    if request.can_read_body:
        options |= await _body(request) or {}
    return options
