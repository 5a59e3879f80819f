"""Volumes as folders of this machine, and the rewriting of the paths at which containers expect them."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from typing import Any

from airflow_ml.testing.kubernetes.objects import Objects
from airflow_ml.testing.kubernetes.resources import CONFIG_MAPS, SECRETS, Object
from airflow_ml.testing.processes.paths import Paths


class ConfigError(Exception):
    """A container cannot be configured, in the kubelet's words."""


def paths_of(container: Object, folders: dict[str, Path], further: list[tuple[str, Path]]) -> Paths:
    """Return the rewriting of one container, from the folders of its pod's volumes and further places."""
    mounts = list(further)
    for mount in container.get("volumeMounts") or []:
        if mount["name"] not in folders:
            raise ConfigError(f'volumeMount "{mount["name"]}" has no volume')
        folder = folders[mount["name"]]
        if mount.get("subPath"):
            folder = folder / mount["subPath"]
            if not folder.exists():
                folder.mkdir(parents=True)
        mounts.append((mount["mountPath"].rstrip("/") or "/", folder))
    return Paths(mounts)


def make_volumes(pod: Object, base: Path, claims: Path, objects: Objects) -> dict[str, Path]:
    """Return the folder of each of a pod's volumes, filled.

    Raises:
        ConfigError: a secret or config map is not there.
    """
    folders = {}
    for volume in pod["spec"].get("volumes") or []:
        name = volume["name"]
        if "hostPath" in volume:
            folder = Path(volume["hostPath"]["path"])
            if volume["hostPath"].get("type") == "DirectoryOrCreate":
                folder.mkdir(parents=True, exist_ok=True)
        elif "persistentVolumeClaim" in volume:
            folder = claims / pod["metadata"]["namespace"] / volume["persistentVolumeClaim"]["claimName"]
            folder.mkdir(parents=True, exist_ok=True)
        else:
            folder = base / "volumes" / name
            folder.mkdir(parents=True, exist_ok=True)
            for path, content in _files(volume, pod, objects).items():
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(content)
        folders[name] = folder
    return folders


def _files(volume: Object, pod: Object, objects: Objects) -> dict[str, bytes]:
    if "projected" in volume:
        files: dict[str, bytes] = {}
        for source in volume["projected"].get("sources") or []:
            files |= _files(source, pod, objects)
        return files
    if "serviceAccountToken" in volume:
        return {volume["serviceAccountToken"].get("path", "token"): b"a token of the double"}
    if "downwardAPI" in volume:
        items = volume["downwardAPI"].get("items") or []
        return {one["path"]: field_value(pod, one["fieldRef"]["fieldPath"]).encode() for one in items}
    for kind, field, name in (("secret", "secret", "secretName"), ("configmap", "configMap", "name")):
        if field in volume:
            source = volume[field]
            data = data_of(objects, kind, pod["metadata"]["namespace"], source.get(name) or source["name"])
            if data is None:
                if source.get("optional"):
                    return {}
                raise ConfigError(f'{kind} "{source.get(name) or source["name"]}" not found')
            wanted = {one["key"]: one["path"] for one in source.get("items") or []} or {key: key for key in data}
            return {path: data[key] for key, path in wanted.items() if key in data}
    return {}


def data_of(objects: Objects, kind: str, namespace: str, name: str) -> dict[str, bytes] | None:
    """Return what a secret or config map holds; None where there is none."""
    item = objects.find(SECRETS if kind == "secret" else CONFIG_MAPS, namespace, name)
    if item is None:
        return None
    if kind == "configmap":
        plain = {key: str(value).encode() for key, value in (item.get("data") or {}).items()}
        return plain | {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}
    hidden = {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    return hidden | {key: str(value).encode() for key, value in (item.get("stringData") or {}).items()}


def field_value(pod: Object, path: str) -> str:
    """Return what a ``fieldRef`` names."""
    if found := re.fullmatch(r"metadata\.(labels|annotations)\['(.+)'\]", path):
        return str((pod["metadata"].get(found[1]) or {}).get(found[2], ""))
    if path in ("status.podIP", "status.hostIP", "status.podIPs", "status.hostIPs"):
        return "127.0.0.1"
    value: Any = pod
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    if path == "spec.serviceAccountName" and value is None:
        return "default"
    return "" if value is None else str(value)
