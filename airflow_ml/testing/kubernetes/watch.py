"""Watches: the changes of a kind from a version on, as lines of JSON."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping

from aiohttp import web

from airflow_ml.testing.kubernetes.faults import WatchFault
from airflow_ml.testing.kubernetes.objects import ADDED, DELETED, MODIFIED, Change, Entry, Objects
from airflow_ml.testing.kubernetes.resources import ApiError, Kind
from airflow_ml.testing.kubernetes.selectors import Test, selector

_BOOKMARK_SECONDS = 5.0
#: What one write carries at most: many small changes are one packet.
_BATCH_BYTES = 1 << 16


async def watch(
    request: web.Request, objects: Objects, kind: Kind, namespace: str | None, fault: WatchFault | None
) -> web.StreamResponse:
    """Serve one watch until its time is over or the client leaves.

    Raises:
        ApiError: 410, the version is no longer in the history.
    """
    query: Mapping[str, str] = request.query
    collection, test = objects.collection(kind), selector(query)
    since = query.get("resourceVersion") or ""
    if since not in ("", "0") and int(since) < collection.forgotten:
        raise ApiError(410, "Expired", f"too old resource version: {since} ({collection.forgotten})")
    queue: asyncio.Queue[bytes] = asyncio.Queue()

    def enqueue(change: Change) -> None:
        line = _line(change, namespace, test)
        if line:
            queue.put_nowait(line)

    if since in ("", "0"):
        for (place, _), entry in list(collection.entries.items()):
            if namespace in (None, place) and (test is None or test(entry.item)):
                queue.put_nowait(_event(ADDED, entry))
    else:
        for change in collection.history:
            if change.version > int(since):
                enqueue(change)
    collection.listeners.append(enqueue)
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    try:
        await response.prepare(request)
        bookmarks = query.get("allowWatchBookmarks") in ("true", "True", "1")
        seconds = float(query.get("timeoutSeconds") or 1800)
        await _serve(request, response, queue, objects, kind if bookmarks else None, seconds, fault)
    except ConnectionResetError:
        pass
    finally:
        collection.listeners.remove(enqueue)
    return response


async def _serve(
    request: web.Request,
    response: web.StreamResponse,
    queue: asyncio.Queue[bytes],
    objects: Objects,
    bookmark: Kind | None,
    seconds: float,
    fault: WatchFault | None,
) -> None:
    loop = asyncio.get_running_loop()
    end, left = loop.time() + seconds, fault.after_events if fault else -1
    while (remaining := end - loop.time()) > 0:
        if left == 0 and fault is not None:
            await _break(request, response, fault, remaining)
            return
        try:
            line = await asyncio.wait_for(queue.get(), min(remaining, _BOOKMARK_SECONDS))
        except TimeoutError:
            if bookmark is not None:
                item = {
                    "kind": bookmark.kind,
                    "apiVersion": bookmark.api_version,
                    "metadata": {"resourceVersion": str(objects.version)},
                }
                await response.write(json.dumps({"type": "BOOKMARK", "object": item}).encode() + b"\n")
            continue
        left -= 1
        while left < 0 and len(line) < _BATCH_BYTES and not queue.empty():
            line += queue.get_nowait()
        await response.write(line)
    await response.write_eof()


async def _break(request: web.Request, response: web.StreamResponse, fault: WatchFault, remaining: float) -> None:
    if fault.how == "gone":
        error = ApiError(410, "Expired", "too old resource version: scripted").body()
        await response.write(json.dumps({"type": "ERROR", "object": error}).encode() + b"\n")
        await response.write_eof()
    elif fault.how == "cut":
        if request.transport is not None:
            request.transport.abort()
    else:
        await asyncio.sleep(remaining)


def _line(change: Change, namespace: str | None, test: Test | None) -> bytes:
    """Return how a watch with this selection sees a change; empty where it does not."""
    item = change.entry.item
    if namespace is not None and item["metadata"].get("namespace") != namespace:
        return b""
    if test is None:
        return _event(change.type, change.entry)
    now, before = test(item), change.before is not None and test(change.before)
    if change.type == DELETED:
        return _event(DELETED, change.entry) if now or before else b""
    if now:
        return _event(MODIFIED if before else ADDED, change.entry)
    return _event(DELETED, change.entry) if before else b""


def _event(type: str, entry: Entry) -> bytes:
    return b'{"type":"%s","object":%s}\n' % (type.encode(), entry.encoded)
