"""A Python environment for one call: a locked requirements file, built once for its content and kept."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.record import JSON
from airflow_ml.errors import CallFailed, ConfigurationError

_PINNED = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)(\[[A-Za-z0-9._,\s-]+\])?\s*==\s*(?P<version>[^\s;*]+)\s*(;.*)?\Z"
)
_HASH = re.compile(r"\s--hash=\S+")
#: Building may download hundreds of distributions.
BUILD_TIMEOUT_SECONDS = 1800.0
_READY = "airflow-ml-ready"


@dataclass(frozen=True)
class LockedEnvironment:
    """Pinned requirements for one version of Python."""

    #: Version as ``3.11.9``.
    python: str
    #: One requirement each: name, version, hashes.
    requirements: tuple[str, ...]
    #: Whether dependencies are installed too; a list of everything that was installed needs none.
    closed: bool = False

    @cached_property
    def description(self) -> dict[str, JSON]:
        """What `describe_environment` says of an environment, with the requirements themselves."""
        return {
            "python": self.python,
            "implementation": sys.implementation.name,
            "machine": platform.machine(),
            "system": platform.system(),
            "distributions": dict(sorted(_pin(line) for line in self.requirements)),
            "requirements": list[JSON](self.requirements),
        }

    @property
    def digest(self) -> str:
        """Its identity: a call in it carries this one."""
        return digest_json(self.description)

    def interpreter(self, log: Callable[[str], None]) -> Path:
        """Return the Python that has these distributions; built where it is not there yet.

        Raises:
            CallFailed: it cannot be built; the message has the installer's last lines.
            ConfigurationError: no Python of that version is here.
        """
        parts = [self.python, platform.machine(), list(self.requirements), self.closed]
        place = environments_folder() / digest_json(parts).partition(":")[2][:24]
        python = place / "bin" / "python"
        if (place / _READY).is_file():
            return python
        with _locked(place.with_suffix(".lock")):
            if (place / _READY).is_file():
                return python
            shutil.rmtree(place, ignore_errors=True)
            log(f"Building an environment of {len(self.requirements)} distributions in {place}; it is kept.")
            _build(self, place)
            (place / _READY).touch()
        return python


def read_locked(file: Path) -> LockedEnvironment:
    """Read a requirements file in which everything is pinned.

    Raises:
        ConfigurationError: there is no such file, or a line in it is not a ``name==version``.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            "The requirements file cannot be read", str(file), "Name a file beside the DAG file, or an absolute path."
        ) from error
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines()]
    found = [re.sub(r"\s+", " ", re.sub(r"(^|\s)#.*", "", line)).strip() for line in lines]
    requirements = tuple(sorted(line for line in found if line))
    for line in requirements:
        _pin(line)
    if not requirements:
        raise ConfigurationError("The requirements file is empty", str(file), "Pin what the function imports.")
    return LockedEnvironment(python=platform.python_version(), requirements=requirements)


def recorded_environment(description: Mapping[str, Any]) -> LockedEnvironment:
    """Return the environment that a task's record describes, so that it can be built again.

    This package itself comes from here: its version there is a matter of the record.
    """
    if "requirements" in description:
        return LockedEnvironment(python=str(description["python"]), requirements=tuple(description["requirements"]))
    names = [name for name in description["distributions"] if name != "airflow-ml"]
    pins = tuple(f"{name}=={description['distributions'][name]}" for name in sorted(names))
    return LockedEnvironment(python=str(description["python"]), requirements=pins, closed=True)


def environments_folder() -> Path:
    """Return where environments are kept: ``AIRFLOW_ML_ENVIRONMENTS``, else the user's cache folder."""
    given = os.environ.get("AIRFLOW_ML_ENVIRONMENTS")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(given) if given else cache / "airflow-ml" / "environments"
    try:
        folder.mkdir(parents=True, mode=0o700, exist_ok=True)
    except OSError as error:
        raise ConfigurationError(
            "The folder for environments cannot be made", str(error), "Set AIRFLOW_ML_ENVIRONMENTS to a folder."
        ) from error
    return folder


def _pin(line: str) -> tuple[str, str]:
    match = _PINNED.match(_HASH.sub("", line).strip())
    if match is None:
        raise ConfigurationError(
            "Not a pinned requirement",
            line[:120],
            "Lock the file, for example with `uv pip compile` or `pip-compile`: every line is name==version.",
        )
    return match["name"].lower().replace("_", "-"), match["version"]


def _build(wanted: LockedEnvironment, place: Path) -> None:
    version = wanted.python.rpartition(".")[0]
    uv = shutil.which("uv")
    with tempfile.TemporaryDirectory(prefix="airflow-ml-") as folder:
        listed = Path(folder) / "requirements.txt"
        listed.write_text("\n".join(wanted.requirements) + "\n", encoding="utf-8")
        # A list of all that was installed is complete as it is, whatever its members ask for.
        install = ["install", "-r", str(listed), *(["--no-deps"] if wanted.closed else [])]
        python = str(place / "bin" / "python")
        if uv is not None:
            here = sys.executable if version == _minor(platform.python_version()) else version
            _run([uv, "venv", "--quiet", "--python", here, str(place)])
            _run([uv, "pip", *install, "--python", python])
        else:
            # Without a pip of its own, which takes longer to unpack than most environments take to install.
            _run([_python_of(version), "-m", "venv", "--without-pip", str(place)])
            _run(
                [sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check", "--no-input", *install]
            )


def _python_of(version: str) -> str:
    if version == _minor(platform.python_version()):
        return sys.executable
    found = shutil.which(f"python{version}")
    if found is None:
        raise ConfigurationError(
            f"The environment needs Python {version}",
            f"this is {platform.python_version()}, and there is no python{version}",
            "Install it, or install uv, which fetches it.",
        )
    return found


def _run(command: list[str]) -> None:
    """Run an installer. It sees the caller's settings of package indexes and none of Airflow's."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "PYTHON"))}
    environment.pop("VIRTUAL_ENV", None)
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            timeout=BUILD_TIMEOUT_SECONDS, check=False, env=environment,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise CallFailed("The environment was not built in time", f"{BUILD_TIMEOUT_SECONDS:.0f} s", "") from error
    if done.returncode:
        # The address of an index may carry a password.
        said = re.sub(r"//[^/@\s]+@", "//***@", done.stdout)[-1500:]
        raise CallFailed("The environment could not be built", f"exit code {done.returncode}", said)


def _minor(version: str) -> str:
    return version.rpartition(".")[0]


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """Wait for whoever builds the same environment."""
    with file.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
