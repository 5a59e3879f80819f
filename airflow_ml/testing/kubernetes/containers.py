"""What a container's process gets: its command, environment and folder on this machine."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from airflow_ml.testing.kubernetes.objects import Objects
from airflow_ml.testing.kubernetes.quantities import amount
from airflow_ml.testing.kubernetes.resources import Object
from airflow_ml.testing.kubernetes.volumes import ConfigError, data_of, field_value
from airflow_ml.testing.processes.paths import Paths

_PATH = os.pathsep.join([str(Path(sys.executable).parent), "/usr/local/bin", "/usr/bin", "/bin"])
_REFERENCE = re.compile(r"\$(\$)?\(([A-Za-z_][\w.-]*)\)")


@dataclass(frozen=True, slots=True)
class Program:
    """A container as a process."""

    command: list[str]
    env: dict[str, str]
    cwd: Path


def program_of(
    pod: Object,
    container: Object,
    base: Path,
    paths: Paths,
    objects: Objects,
    image_env: Mapping[str, str],
    *,
    programs: Path,
) -> Program:
    """Return a container's process.

    Nothing of this process' environment is passed on, as a cluster would not. The programs are those of this machine;
    those of ``programs`` come first, then this interpreter's own, so ``python`` is the one that runs the double.

    Raises:
        ConfigError: something that the environment names is not there, in the kubelet's words.
    """
    home = base / "root"
    declared = _declared(pod, container, objects)
    env = {
        "PATH": f"{programs}{os.pathsep}{_PATH}",
        "HOME": str(home),
        "TMPDIR": str(paths.temporary or home),
        "LANG": "C.UTF-8",
        "HOSTNAME": pod["metadata"]["name"],
        **image_env,
        **{name: paths.rewrite(value) for name, value in declared.items()},
    }
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    if not container.get("command"):
        raise ConfigError(
            f"the double knows no entrypoint of image {container.get('image')!r}: give the container a command"
        )
    folder = Path(paths.rewrite(container["workingDir"])) if container.get("workingDir") else home
    return Program(
        command=[paths.rewrite(_expand(word, declared)) for word in words],
        env=env,
        cwd=folder if folder.is_dir() else home,
    )


def _declared(pod: Object, container: Object, objects: Objects) -> dict[str, str]:
    env: dict[str, str] = {}
    for source in container.get("envFrom") or []:
        for kind, field in (("secret", "secretRef"), ("configmap", "configMapRef")):
            if field in source:
                data = _data(objects, kind, pod, source[field])
                env |= {source.get("prefix", "") + key: value.decode() for key, value in data.items()}
    for variable in container.get("env") or []:
        name = variable["name"]
        if "valueFrom" not in variable:
            env[name] = _expand(str(variable.get("value", "")), env)
            continue
        value = _from(variable["valueFrom"], pod, container, objects)
        if value is not None:
            env[name] = value
    return env


def _from(source: Object, pod: Object, container: Object, objects: Objects) -> str | None:
    if "fieldRef" in source:
        return field_value(pod, source["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in source:
        return _resource(source["resourceFieldRef"], container)
    for kind, field in (("secret", "secretKeyRef"), ("configmap", "configMapKeyRef")):
        if field in source:
            reference = source[field]
            data = _data(objects, kind, pod, reference)
            if reference["key"] in data:
                return data[reference["key"]].decode()
            if reference.get("optional"):
                return None
            place = f"{pod['metadata']['namespace']}/{reference['name']}"
            what = "Secret" if kind == "secret" else "ConfigMap"
            raise ConfigError(f"couldn't find key {reference['key']} in {what} {place}")
    return None


def _data(objects: Objects, kind: str, pod: Object, reference: Object) -> dict[str, bytes]:
    data = data_of(objects, kind, pod["metadata"]["namespace"], reference["name"])
    if data is None and not reference.get("optional"):
        raise ConfigError(f'{kind} "{reference["name"]}" not found')
    return data or {}


def _resource(reference: Object, container: Object) -> str:
    section, _, name = reference["resource"].partition(".")
    value = ((container.get("resources") or {}).get(section) or {}).get(name)
    if value is None:
        return "0"
    return str(-int(-amount(value) // amount(reference.get("divisor") or 1)))


def _expand(text: str, env: Mapping[str, str]) -> str:
    """Replace ``$(NAME)`` as the kubelet does: unknown names stay, ``$$(NAME)`` is the text itself."""

    def replace(found: re.Match[str]) -> str:
        if found[1]:
            return f"$({found[2]})"
        return env.get(found[2], found[0])

    return _REFERENCE.sub(replace, text)
