"""What the API says of itself, enough for kubectl."""

from __future__ import annotations

from airflow_ml.testing.kubernetes.resources import KINDS, ApiError, Object

VERSION = "1.34"
_VERBS = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def discover(path: str, *, kueue: bool = True) -> Object:
    """Return the document of a path that names no object.

    Args:
        path: Of the request.
        kueue: Whether Kueue is installed.

    Raises:
        ApiError: 404.
    """
    path = path.rstrip("/")
    major, _, minor = VERSION.partition(".")
    kinds = [kind for kind in KINDS.values() if kueue or not kind.api_version.startswith("kueue.")]
    versions = sorted({kind.api_version for kind in kinds})
    if path == "/version":
        return {"major": major, "minor": minor, "gitVersion": f"v{VERSION}.0-double", "platform": "linux/amd64"}
    if path in ("/healthz", "/readyz", "/livez"):
        return {"status": "ok"}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups = {name: _group(name, version) for name, _, version in (one.partition("/") for one in versions) if version}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": list(groups.values())}
    if path.removeprefix("/apis/") in groups:
        return {"kind": "APIGroup", "apiVersion": "v1", **groups[path.removeprefix("/apis/")]}
    for version in versions:
        if path == ("/api/v1" if version == "v1" else f"/apis/{version}"):
            return {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": version,
                "resources": [
                    {
                        "name": kind.plural,
                        "singularName": kind.kind.lower(),
                        "namespaced": kind.namespaced,
                        "kind": kind.kind,
                        "verbs": _VERBS,
                    }
                    for kind in kinds
                    if kind.api_version == version
                ],
            }
    raise ApiError(404, "NotFound", "the server could not find the requested resource")


def _group(name: str, version: str) -> Object:
    entry = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}
