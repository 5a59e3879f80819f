"""The project's own files that a function reaches by static imports, and whether they could leave Airflow."""

from __future__ import annotations

import ast
import functools
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path

from airflow_ml.errors import NotPortable

#: Rooms of this package that import Airflow.
SURFACE = ("operators", "decorators", "triggers", "hooks", "plugin", "cli", "links", "retry", "provider_info")
_REMEDY = "Import Airflow in the DAG file only, and what the function uses inside of the function."


class Bundle:
    """The project's own Python files.

    Args:
        roots: Folders from which modules are named. Where distributions are installed is never one of them.
    """

    def __init__(self, roots: Iterable[Path]) -> None:
        self.roots = [root for root in dict.fromkeys(map(Path.resolve, roots)) if not is_installed(root)]

    @classmethod
    def around(cls, file: str, root: Path | None) -> Bundle:
        """Return the bundle of a function's file: the root, the entries of ``sys.path`` above the file, its folder."""
        folder = Path(file).resolve().parent if Path(file).is_file() else None
        above = [Path(entry) for entry in sys.path if entry and folder and folder.is_relative_to(Path(entry).resolve())]
        return cls(place for place in (root, *above, folder) if place is not None)

    def locate(self, module: str) -> Path | None:
        """Return the file of a module; None where the module is not the project's own.

        A module that was imported already must come from that very file: an installed library may have the same name.
        """
        if module.partition(".")[0] in ("airflow_ml", *sys.builtin_module_names):
            return None
        loaded = getattr(sys.modules.get(module), "__file__", None)
        if loaded is not None and loaded.startswith(_installed_folders()):
            return None  # asked for each of dozens of imports, in every task
        for root in self.roots:
            for place in _places(module):
                file = f"{root}{os.sep}{place}"
                if os.path.isfile(file) and (loaded is None or os.path.realpath(loaded) == os.path.realpath(file)):
                    return Path(file)
        return None

    def reach(self, modules: Iterable[str]) -> dict[str, str]:
        """Return the source of all files that some modules reach, by relative path.

        Raises:
            NotPortable: one of them imports Airflow at its top level.
        """
        found: dict[str, str] = {}
        waiting = sorted(modules)
        while waiting:
            name = waiting.pop()
            for level in _with_parents(name):
                file = self.locate(level)
                if file is None:
                    continue
                path = next(place for place in _places(level) if str(file).endswith(os.sep + place))
                if path in found:
                    continue
                found[path] = file.read_text(encoding="utf-8")
                tree = parsed(found[path], path)
                for statement in airflow_imports(tree):
                    what = f"The function reaches {path}, which imports Airflow"
                    raise NotPortable(what, f"line {statement.lineno}", _REMEDY)
                package = level if file.name == "__init__.py" else level.rpartition(".")[0]
                waiting.extend(imported_modules(ast.walk(tree), package))
        return found


@functools.lru_cache(maxsize=64)
def parsed(text: str, path: str) -> ast.Module:
    """Return the tree of a file's text; not to be changed, since it is kept."""
    return ast.parse(text, path)


def imported_modules(nodes: Iterable[ast.AST], package: str = "") -> Iterator[str]:
    """Yield the modules that import statements may load; of ``from a import b`` both ``a`` and ``a.b``."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".") if package else []
                above = parts[: len(parts) - (node.level - 1)]
                base = ".".join([*above, base] if base else above)
            if base:
                yield base
                yield from (f"{base}.{alias.name}" for alias in node.names if alias.name != "*")


def is_airflow(module: str) -> bool:
    """Whether a module is Airflow, or one of ours that imports it."""
    top, _, rest = module.partition(".")
    return top == "airflow" or (top == "airflow_ml" and rest.partition(".")[0] in SURFACE)


def airflow_imports(tree: ast.Module) -> Iterator[ast.stmt]:
    """Yield the imports of Airflow that run with a module, but for those guarded by try or TYPE_CHECKING."""
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = list(imported_modules([node]))
            # `from airflow_ml import x` may load any room, so the file counts as a DAG file.
            if any(is_airflow(name) for name in names) or "airflow_ml" in names:
                yield node
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            waiting += [*node.body, *node.orelse]
        elif isinstance(node, ast.With | ast.For | ast.While):
            waiting += node.body


def is_installed(place: Path) -> bool:
    """Whether a path lies where distributions or the standard library are installed."""
    resolved = str(place.resolve())
    return (resolved + os.sep).startswith(_installed_folders())


@functools.cache
def _installed_folders() -> tuple[str, ...]:
    found = {sysconfig.get_path(key) for key in ("purelib", "platlib", "stdlib")}
    forms = {form for folder in found for form in (str(Path(folder).resolve()), os.path.abspath(folder))}
    return tuple(form + os.sep for form in forms)


def _places(module: str) -> tuple[str, str]:
    base = module.replace(".", "/")
    return f"{base}/__init__.py", f"{base}.py"  # in Python's own order


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: index + 1]) for index in range(len(parts))]
