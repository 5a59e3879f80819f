"""Walk from a function through its free names to everything of its file that must travel with it."""

from __future__ import annotations

import builtins
import inspect
import sys
import types
from typing import Any

from airflow_ml.core.record import JSON
from airflow_ml.errors import NotPortable
from airflow_ml.runtime.bundle import Bundle, imported_modules, is_airflow
from airflow_ml.runtime.constants import encode_constant
from airflow_ml.runtime.source_file import SourceFile, names_of, statements_of

#: Every module has these by itself.
_OF_MODULE = frozenset({"__name__", "__file__", "__doc__", "__spec__", "__loader__", "__package__", "__builtins__"})
_IMPORT_INSIDE = "Import what the function uses inside of the function, and leave Airflow in the DAG file."
_MISSING = object()


class Definitions:
    """The definitions, imports and constants that one function needs.

    Attributes:
        found: By key, ``{"name", "source", "indented", "eager", "cells", "defaults", "kwdefaults"}``.
        globals: By name, how the name of the file is bound (see `_bind`).
        lines: By key, the line number of the definition's first line.
        modules: Names of all modules that are imported somewhere.
    """

    def __init__(self, source: SourceFile, function: types.FunctionType, bundle: Bundle) -> None:
        self._source = source
        self._bundle = bundle
        self._entry_function = function
        self._module_globals = function.__globals__
        self._keys: dict[int, str] = {}
        self._alive: list[Any] = []
        self.found: dict[str, JSON] = {}
        self.globals: dict[str, JSON] = {}
        self.lines: dict[str, int] = {}
        self.modules: set[str] = set()
        self.entry = self._add(function, decorated=False)

    def _add(self, value: Any, *, decorated: bool) -> str:
        """Add a function or class of the file, with all that it needs, and return its key."""
        if id(value) in self._keys:
            return self._keys[id(value)]
        base = str(value.__qualname__)
        key = base if base not in self.lines else f"{base}#{sum(other.startswith(base) for other in self.lines)}"
        self._keys[id(value)] = key
        self._alive.append(value)
        snippet = self._source.snippet(value, decorated=decorated)
        self.lines[key] = snippet.line
        defaults = _defaults(value)
        names = names_of(snippet, defaults=not defaults)
        local = _cells(value)
        cells: dict[str, JSON] = {}
        for name in names.every:
            if name in local:
                cells[name] = self._bind(name, local[name], key)
            elif name in self._module_globals:
                if name not in self.globals and name not in _OF_MODULE:
                    self.globals[name] = None  # a definition may come back to its own name
                    self.globals[name] = self._bind(name, self._module_globals[name], key)
            elif not hasattr(builtins, name) and name not in names.optional and name not in _OF_MODULE:
                raise NotPortable(
                    f"{key} uses {name!r}, which is not defined", self._source.path, "Define it before the task runs."
                )
        statements = list(statements_of(snippet))
        self._check_imports(statements, key)
        self.modules.update(imported_modules(statements))
        self.found[key] = {
            "name": snippet.name,
            "source": snippet.source,
            "indented": snippet.indented,
            "eager": [name for name in names.eager if name in cells or name in self.globals],
            "cells": cells,
            **defaults,
        }
        return key

    def _bind(self, name: str, value: Any, user: str) -> JSON:
        """Return how a name is bound on the far side: ``module``, ``attribute``, ``definition`` or ``constant``."""
        if isinstance(value, types.ModuleType):
            return self._bind_module(name, value, user)
        if self._is_entry(value):
            return {"definition": self._add(self._entry_function, decorated=False)}
        if _home(value).startswith("airflow.") or is_airflow(_home(value)) or is_airflow(type(value).__module__):
            raise NotPortable(
                f"{user} uses {name!r}, which belongs to Airflow",
                f"{type(value).__module__}.{type(value).__qualname__}",
                _IMPORT_INSIDE,
            )
        inner = inspect.unwrap(value) if callable(value) else value
        if self._of_this_file(inner):
            return {"definition": self._add(inner, decorated=True)}
        for module, attribute in [*self._source.imported_as(name), *_real_name(value)]:
            if _same(module, attribute, value):
                return self._bind_attribute(name, module, attribute, user)
        try:
            return {"constant": encode_constant(value)}
        except (TypeError, ValueError) as error:
            raise NotPortable(
                f"{user} uses {name!r}, which cannot leave this process",
                str(error),
                f"Make {name!r} a constant (JSON, tuples, sets) or an argument, or import or build it inside {user}.",
            ) from None

    def _bind_module(self, name: str, module: types.ModuleType, user: str) -> JSON:
        real = module.__name__
        if is_airflow(real):
            raise NotPortable(f"{user} uses the module {name!r}, which imports Airflow", real, _IMPORT_INSIDE)
        if real == "__main__" or sys.modules.get(real) is not module:
            raise NotPortable(f"{user} uses the module {name!r}, which cannot be imported", real, _IMPORT_INSIDE)
        below = [item for item in self._source.submodules(real) if item in sys.modules and not is_airflow(item)]
        self.modules.update([real, *below])
        return {"module": real, "below": list[JSON](below)}

    def _bind_attribute(self, name: str, module: str, attribute: str, user: str) -> JSON:
        if is_airflow(module):
            raise NotPortable(f"{user} uses {name!r} of Airflow", f"{module}.{attribute}", _IMPORT_INSIDE)
        self.modules.add(module)
        return {"module": module, "attribute": attribute}

    def _is_entry(self, value: Any) -> bool:
        entry = self._entry_function
        return (
            value is entry or getattr(value, "function", None) is entry or getattr(value, "__wrapped__", None) is entry
        )

    def _of_this_file(self, value: Any) -> bool:
        if isinstance(value, types.FunctionType):
            return value.__code__.co_filename == self._source.path and value.__globals__ is self._module_globals
        return inspect.isclass(value) and value.__module__ == self._module_globals.get("__name__")

    def _check_imports(self, statements: list[Any], user: str) -> None:
        for name in imported_modules(statements):
            if is_airflow(name):
                raise NotPortable(
                    f"{user} imports Airflow",
                    name,
                    "User code runs where there is no Airflow: pass values as arguments.",
                )


def _cells(value: Any) -> dict[str, Any]:
    """Return the closure's values by name; for a class those of its methods."""
    functions = (
        [value]
        if isinstance(value, types.FunctionType)
        else [inspect.unwrap(v) for v in vars(value).values() if callable(v)]
    )
    found: dict[str, Any] = {}
    for function in functions:
        if not isinstance(function, types.FunctionType) or not function.__closure__:
            continue
        for name, cell in zip(function.__code__.co_freevars, function.__closure__, strict=True):
            try:
                content = cell.cell_contents
            except ValueError:  # an empty cell: the name is not bound yet
                continue
            if name != "__class__":
                found[name] = content
    return found


def _defaults(value: Any) -> dict[str, JSON]:
    """Return a function's default values as they are now: their expressions may give others on the far side."""
    if not isinstance(value, types.FunctionType):
        return {}
    try:
        return {
            "defaults": encode_constant(list(value.__defaults__ or ())),
            "kwdefaults": encode_constant(dict(value.__kwdefaults__ or {})),
        }
    except (TypeError, ValueError):
        return {}  # evaluated again on the far side


def _home(value: Any) -> str:
    module = getattr(value, "__module__", None)
    return module if isinstance(module, str) else ""


def _real_name(value: Any) -> list[tuple[str, str]]:
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    return [(_home(value), name)] if isinstance(name, str) and _home(value) else []


def _same(module: str, attribute: str, value: Any) -> bool:
    if module == "__main__" or module.startswith("unusual_prefix_") or module not in sys.modules:
        return False
    found: Any = sys.modules[module]
    for part in attribute.split("."):
        found = getattr(found, part, _MISSING)
    return found is value
