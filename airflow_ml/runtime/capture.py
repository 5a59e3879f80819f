"""Capture a live function so that a clean interpreter can run it: no pickle, no import of a DAG file.

Two kinds. ``import``: a module-level function of an importable module that imports no Airflow; it is imported again,
with the project's files it reaches. ``source``: any other function, nested ones of a DAG file too; its source without
decorators travels with each free name as an import, a constant, or another definition of the same file.
"""

from __future__ import annotations

import inspect
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_ml.core.call import FunctionRef
from airflow_ml.core.fingerprint import canonical_json, digest_json
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.core.record import JSON
from airflow_ml.errors import NotPortable
from airflow_ml.runtime.bundle import Bundle, airflow_imports, is_installed
from airflow_ml.runtime.definitions import Definitions
from airflow_ml.runtime.source_file import SourceFile

IMPORT, SOURCE = "import", "source"
#: Airflow loads a DAG file under a module name that is made of its path and exists nowhere else.
_MANGLED = "unusual_prefix_"


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturedFunction:
    """A function that has left its process."""

    #: ``import`` or ``source``.
    kind: str
    #: The module to import, for ``import``; empty for ``source``.
    module: str
    #: The original file, for tracebacks.
    file: str
    qualname: str
    #: Identity of the code: of all that travels except line numbers, so a change elsewhere in the file leaves it.
    digest: str
    #: Canonical JSON of what travels; empty where nothing does.
    package: bytes


def capture(function: Callable[..., Any], *, root: Path | None = None) -> CapturedFunction:
    """Return a function in a form that `load_function` makes callable again.

    Args:
        function: A plain function (a decorated one is unwrapped).
        root: Folder of the DAG bundle; the project's files travel along. The folder of the
            function's file, and those on ``sys.path`` above it, count as well.

    Raises:
        NotPortable: it uses something that cannot travel; the message names the variable and the remedy.
    """
    target = _plain_function(function)
    file = target.__code__.co_filename
    bundle = Bundle.around(file, root)
    importable = _importable(target, bundle)
    if importable is not None:
        return importable
    source = SourceFile(file, target.__globals__)
    definitions = Definitions(source, target, bundle)
    package: dict[str, JSON] = {
        "version": 1,
        "entry": definitions.entry,
        "definitions": dict(definitions.found),
        "globals": dict(definitions.globals),
        "files": dict(bundle.reach(definitions.modules)),
    }
    return CapturedFunction(
        kind=SOURCE,
        module="",
        file=file,
        qualname=target.__qualname__,
        digest=digest_json(package),
        package=canonical_json({**package, "lines": dict(definitions.lines)}),
    )


def as_function_ref(captured: CapturedFunction, store: ArtifactStore) -> FunctionRef:
    """Store what travels, as an artifact of format ``python``, and return the reference."""
    return FunctionRef(
        kind=captured.kind,
        module=captured.module or captured.file,
        qualname=captured.qualname,
        digest=captured.digest,
        package=store.put_bytes(captured.package, format="python") if captured.package else None,
    )


def _plain_function(function: Any) -> types.FunctionType:
    inner = inspect.unwrap(function) if callable(function) else function
    if not isinstance(inner, types.FunctionType):
        raise NotPortable(
            "Only a plain function can be captured",
            f"{type(function).__module__}.{type(function).__qualname__} {function!r}"[:160],
            "Write a def; give constants as further arguments.",
        )
    if inspect.iscoroutinefunction(inner) or inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise NotPortable("An async function or a generator cannot be captured", inner.__qualname__, "Return a value.")
    return inner


def _importable(function: types.FunctionType, bundle: Bundle) -> CapturedFunction | None:
    """Capture a function by its name, or return None where it cannot be found again by name."""
    name, qualname = function.__module__, function.__qualname__
    module = sys.modules.get(name)
    if module is None or name == "__main__" or name.startswith(_MANGLED) or getattr(module, "__spec__", None) is None:
        return None
    if getattr(module, qualname, None) is not function or "." in qualname:
        return None
    file = getattr(module, "__file__", None)
    if file is None or Path(file).suffix != ".py":
        return None
    own = bundle.locate(name)
    source = SourceFile(file, vars(module))
    if next(airflow_imports(source.tree), None) is not None or (own is None and not _is_found_anywhere(name, file)):
        return None
    if own is None:
        digest = digest_json({"module": name, "source": "".join(source.lines)})
        return CapturedFunction(kind=IMPORT, module=name, file=file, qualname=qualname, digest=digest, package=b"")
    package: dict[str, JSON] = {"version": 1, "files": dict(bundle.reach([name]))}
    return CapturedFunction(
        kind=IMPORT,
        module=name,
        file=file,
        qualname=qualname,
        digest=digest_json({"module": name, **package}),
        package=canonical_json(package),
    )


def _is_found_anywhere(name: str, file: str) -> bool:
    """Whether a clean interpreter finds the module: it is ours, or lies where distributions are installed."""
    return name.partition(".")[0] == "airflow_ml" or is_installed(Path(file))
