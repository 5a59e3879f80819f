"""What the API server stores: objects with versions, and the recent history of each kind for those who watch."""

from __future__ import annotations

import json
import secrets
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from airflow_ml.testing.kubernetes.resources import (
    EVENTS,
    KINDS,
    ApiError,
    Kind,
    Object,
    key_of,
    now_text,
)

ADDED, MODIFIED, DELETED = "ADDED", "MODIFIED", "DELETED"
#: Events of the cluster are advice; a real cluster drops them after an hour.
_KEPT_EVENTS = 5_000


class Entry:
    """One version of an object, with its JSON once somebody asked for it."""

    __slots__ = ("_encoded", "item")

    def __init__(self, item: Object) -> None:
        self.item = item
        self._encoded: bytes | None = None

    @property
    def encoded(self) -> bytes:
        """The object as JSON."""
        if self._encoded is None:
            self._encoded = json.dumps(self.item, separators=(",", ":")).encode()
        return self._encoded


class Change:
    """One step of a kind's history."""

    __slots__ = ("before", "entry", "type", "version")

    def __init__(self, type: str, version: int, entry: Entry, before: Object | None) -> None:
        self.type, self.version, self.entry, self.before = type, version, entry, before


class Collection:
    """All objects of one kind."""

    def __init__(self, kind: Kind, history: int) -> None:
        self.kind = kind
        self.entries: dict[tuple[str, str], Entry] = {}
        self.history: deque[Change] = deque(maxlen=history)
        #: Versions up to this one are no longer in the history.
        self.forgotten = 0
        self.listeners: list[Callable[[Change], None]] = []

    def record(self, change: Change) -> None:
        """Remember a change and tell it."""
        if len(self.history) == self.history.maxlen:
            self.forgotten = self.history[0].version
        self.history.append(change)
        for listener in list(self.listeners):
            listener(change)

    def forget(self) -> None:
        """Drop the history, as the compaction of etcd does."""
        if self.history:
            self.forgotten = self.history[-1].version
            self.history.clear()


class Objects:
    """The store of the double; used from one thread, its event loop's."""

    def __init__(self, *, history: int = 20_000) -> None:
        self.version = 1
        self._history = history
        self._collections = {kind: Collection(kind, history) for kind in KINDS.values()}

    def collection(self, kind: Kind) -> Collection:
        """Return all objects of a kind."""
        return self._collections[kind]

    def find(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """Return an object; None where there is none."""
        entry = self._collections[kind].entries.get((namespace, name))
        return entry.item if entry else None

    def get(self, kind: Kind, namespace: str, name: str) -> Object:
        """Return an object.

        Raises:
            ApiError: 404.
        """
        item = self.find(kind, namespace, name)
        if item is None:
            raise not_found(kind, name)
        return item

    def items(self, kind: Kind, namespace: str | None = None) -> Iterator[Object]:
        """Iterate over a kind's objects, of one namespace or of all."""
        for (place, _), entry in list(self._collections[kind].entries.items()):
            if namespace is None or place == namespace:
                yield entry.item

    def create(self, kind: Kind, item: Object) -> Object:
        """Store a new object and return it with its uid and version.

        Raises:
            ApiError: 409, its name is taken.
        """
        metadata = dict(item.get("metadata") or {})
        if not metadata.get("name"):
            metadata["name"] = f"{metadata['generateName'][:58]}{short_id()}"
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", now_text())
        if "spec" in item:
            metadata.setdefault("generation", 1)
        stored = {"apiVersion": kind.api_version, "kind": kind.kind, **item, "metadata": metadata}
        collection = self._collections[kind]
        if key_of(stored) in collection.entries:
            raise ApiError(409, "AlreadyExists", f'{kind.plural} "{metadata["name"]}" already exists')
        self._store(collection, ADDED, stored, None)
        return stored

    def put(self, kind: Kind, item: Object) -> Object:
        """Replace an object by a newer version of itself; one that waited to be deleted may be gone with that."""
        collection = self._collections[kind]
        before = collection.entries[key_of(item)].item
        stored = {**item, "metadata": dict(item["metadata"])}
        if stored["metadata"].get("deletionTimestamp") and kind.plural != "pods" and not _finalizers(stored):
            self.remove(kind, stored)
            return stored
        self._store(collection, MODIFIED, stored, before)
        return stored

    def remove(self, kind: Kind, item: Object) -> None:
        """Drop an object at once."""
        collection = self._collections[kind]
        entry = collection.entries.pop(key_of(item), None)
        if entry is not None:
            gone = {**entry.item, "metadata": dict(entry.item["metadata"])}
            collection.record(Change(DELETED, self._stamp(gone), Entry(gone), entry.item))

    def delete(self, kind: Kind, item: Object) -> Object:
        """Drop an object, or mark it where a finalizer holds it."""
        if not _finalizers(item):
            self.remove(kind, item)
            return item
        if item["metadata"].get("deletionTimestamp"):
            return item
        return self.put(kind, {**item, "metadata": {**item["metadata"], "deletionTimestamp": now_text()}})

    def add_event(self, about: Object, reason: str, message: str, *, warning: bool = False, source: str) -> None:
        """Store an Event about an object."""
        metadata, now = about["metadata"], now_text()
        event = {
            "metadata": {
                "name": f"{metadata['name'][:230]}.{secrets.token_hex(8)}",
                "namespace": metadata.get("namespace", "default"),
            },
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "name": metadata["name"],
                "namespace": metadata.get("namespace", "default"),
                "uid": metadata["uid"],
            },
            "reason": reason,
            "message": message,
            "type": "Warning" if warning else "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": source},
        }
        self.create(EVENTS, event)
        entries = self._collections[EVENTS].entries
        if len(entries) > _KEPT_EVENTS:
            del entries[next(iter(entries))]

    def _store(self, collection: Collection, type: str, item: Object, before: Object | None) -> None:
        version = self._stamp(item)
        entry = Entry(item)
        collection.entries[key_of(item)] = entry
        collection.record(Change(type, version, entry, before))

    def _stamp(self, item: Object) -> int:
        self.version += 1
        item["metadata"]["resourceVersion"] = str(self.version)
        return self.version


def changed(item: Object, **status: Any) -> Object:
    """Return an object with other values in its status; None takes one away."""
    merged = {**item.get("status", {}), **status}
    return {**item, "status": {name: value for name, value in merged.items() if value is not None}}


def not_found(kind: Kind, name: str) -> ApiError:
    """Return the 404 of an object."""
    group = kind.api_version.rpartition("/")[0]
    return ApiError(404, "NotFound", f'{kind.plural}{"." + group if group else ""} "{name}" not found')


def short_id() -> str:
    """Return the five characters that end a generated name."""
    return "".join(secrets.choice("bcdfghjklmnpqrstvwxz2456789") for _ in range(5))


def _finalizers(item: Object) -> list[str]:
    return item["metadata"].get("finalizers") or []
