"""The four ways in which a client may change an object with PATCH."""

from __future__ import annotations

import copy
from typing import Any

from airflow_ml.testing.kubernetes.resources import ApiError, Object

#: Lists that a strategic merge joins by a key; all others are replaced as a whole.
_KEYS = {
    "containers": "name",
    "initContainers": "name",
    "env": "name",
    "volumes": "name",
    "volumeMounts": "mountPath",
    "imagePullSecrets": "name",
    "ownerReferences": "uid",
    "conditions": "type",
}


def apply_patch(item: Object, body: Any, content_type: str) -> Object:
    """Return a changed copy of an object.

    Raises:
        ApiError: 415 for an unknown content type, 422 for a JSON patch that does not fit.
    """
    changed = copy.deepcopy(item)
    if "json-patch" in content_type:
        for step in body:
            _step(changed, step)
        return changed
    if "merge-patch" not in content_type and "apply-patch" not in content_type:
        raise ApiError(415, "UnsupportedMediaType", f"the body of the request was in an unknown format: {content_type}")
    return _merge(changed, body, by_key="application/merge-patch" not in content_type)


def _merge(target: Object, body: Object, *, by_key: bool) -> Object:
    for name, value in body.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value, by_key=by_key)
        elif by_key and isinstance(value, list) and name in _KEYS and isinstance(target.get(name), list):
            target[name] = _merge_list(target[name], value, _KEYS[name])
        elif name == "finalizers" and by_key and isinstance(target.get(name), list):
            target[name] = list(dict.fromkeys([*target[name], *value]))
        else:
            target[name] = copy.deepcopy(value)
    return target


def _merge_list(target: list[Object], values: list[Object], key: str) -> list[Object]:
    merged = {one.get(key): one for one in target}
    for value in values:
        known = merged.get(value.get(key))
        if value.get("$patch") == "delete":
            merged.pop(value.get(key), None)
        elif known is None:
            merged[value.get(key)] = copy.deepcopy(value)
        else:
            _merge(known, value, by_key=True)
    return list(merged.values())


def _step(item: Object, step: Object) -> None:
    *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in step["path"].lstrip("/").split("/")]
    place: Any = item
    try:
        for part in parents:
            place = place[int(part)] if isinstance(place, list) else place[part]
        if isinstance(place, list):
            _step_list(place, last, step)
            return
        if step["op"] == "add":
            place[last] = step["value"]
            return
        if step["op"] == "test" and place[last] != step["value"]:
            raise KeyError(f"the value is {place[last]!r}")
        if step["op"] == "replace":
            del place[last]  # it must be there
            place[last] = step["value"]
        elif step["op"] == "remove":
            del place[last]
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise ApiError(422, "Invalid", f"the JSON patch {step} does not fit the object: {error}") from error


def _step_list(place: list[Any], last: str, step: Object) -> None:
    if step["op"] == "add":
        place.insert(len(place) if last == "-" else int(last), step["value"])
    elif step["op"] == "remove":
        del place[int(last)]
    elif step["op"] == "test":
        if place[int(last)] != step["value"]:
            raise KeyError(f"the value is {place[int(last)]!r}")
    else:
        place[int(last)] = step["value"]
