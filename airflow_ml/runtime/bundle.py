"""The project's own files that a function reaches by static imports, and whether they could leave Airflow."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from airflow_ml.errors import NotPortable

#: Rooms of this package that import Airflow.
SURFACE = ("operators", "decorators", "triggers", "hooks", "plugin", "cli", "links", "retry", "provider_info")
_REMEDY = "Import Airflow in the DAG file only, and what the function uses inside of the function."


class Bundle:
    """The Python files below a folder.

    Args:
        root: The DAG bundle's folder; None where there is none, then no file belongs to it.
    """

    def __init__(self, root: Path | None) -> None:
        self.root = root.resolve() if root is not None else None

    def locate(self, module: str) -> Path | None:
        """Return the file of a module, relative to the root; None where the module is not the project's own.

        A module that was imported already must come from that very file: an installed library may have the same name.
        """
        if self.root is None or module.partition(".")[0] == "airflow_ml":
            return None
        base = Path(*module.split("."))
        for relative in (base.with_suffix(".py"), base / "__init__.py"):
            if (self.root / relative).is_file():
                loaded = getattr(sys.modules.get(module), "__file__", None)
                if loaded is None or Path(loaded).resolve() == (self.root / relative).resolve():
                    return relative
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
                relative = self.locate(level)
                if relative is None or relative.as_posix() in found or self.root is None:
                    continue
                text = (self.root / relative).read_text(encoding="utf-8")
                found[relative.as_posix()] = text
                tree = ast.parse(text, str(relative))
                for statement in airflow_imports(tree):
                    raise NotPortable(
                        f"The function reaches {relative.as_posix()}, which imports Airflow",
                        f"line {statement.lineno}",
                        _REMEDY,
                    )
                package = level if relative.name == "__init__.py" else level.rpartition(".")[0]
                waiting.extend(imported_modules(ast.walk(tree), package))
        return found


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


def _with_parents(module: str) -> list[str]:
    parts = module.split(".")
    return [".".join(parts[: index + 1]) for index in range(len(parts))]
