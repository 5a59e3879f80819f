"""Make a captured function callable again, in a fresh module, under its original file name and line numbers."""

from __future__ import annotations

import ast
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import inspect
import json
import linecache
import sys
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from airflow_ml.core.call import FunctionRef
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.errors import NotPortable
from airflow_ml.runtime.constants import decode_constant
from airflow_ml.runtime.source_file import FLAGS, Snippet, drop_defaults, parse_snippet

_FACTORY, _CELLS = "__airflow_ml_factory__", "__airflow_ml_cells__"


def load_function(ref: FunctionRef, store: ArtifactStore) -> Callable[..., Any]:
    """Return the function that a reference names.

    Raises:
        ArtifactNotFound, ArtifactCorrupt: its package cannot be read.
        NotPortable: this process has no such function.
        ImportError: a module that the function's file imports is not installed here.
    """
    package = json.loads(store.get_bytes(ref.package)) if ref.package is not None else {"files": {}}
    if package["files"]:
        _install(BundleFinder(package["files"]))
    if ref.kind == "import":
        found = getattr(importlib.import_module(ref.module), ref.qualname, None)
        if not callable(found):
            raise NotPortable(f"Module {ref.module} has no function", ref.qualname, "Install the same version here.")
        function: Callable[..., Any] = inspect.unwrap(found)
        return function
    return _Builder(ref, package).function()


def imported_names(ref: FunctionRef, store: ArtifactStore) -> Iterator[str]:
    """Yield the modules outside of the project that a function imports somewhere, to import them before forking."""
    from airflow_ml.runtime.bundle import imported_modules

    package = json.loads(store.get_bytes(ref.package)) if ref.package is not None else {"files": {}}
    own = {PurePath(path).parts[0].removesuffix(".py") for path in package["files"]}
    trees: list[ast.AST] = [ast.parse(text) for text in package["files"].values()]
    trees += [parse_snippet(_snippet(item, 2)) for item in package.get("definitions", {}).values()]
    found = [item for item in package.get("globals", {}).values() if "module" in item]
    bound = [name for item in found for name in (item["module"], *item.get("below", ()))]
    if ref.kind == "import" and not package["files"]:
        bound.append(ref.module)
    for name in dict.fromkeys([*bound, *(name for tree in trees for name in imported_modules(ast.walk(tree)))]):
        if name.partition(".")[0] not in own:
            yield name


class BundleFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports the project's files out of a package, before anything installed under the same name."""

    def __init__(self, files: Mapping[str, str]) -> None:
        self.files = dict(files)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return the spec of a packaged module; a folder without ``__init__.py`` is a namespace package."""
        base = fullname.replace(".", "/")
        if self._path(fullname) is not None:
            return importlib.util.spec_from_loader(
                fullname, self, origin=self._path(fullname), is_package=self.is_package(fullname)
            )
        if any(name.startswith(f"{base}/") for name in self.files):
            spec = importlib.machinery.ModuleSpec(fullname, None, is_package=True)
            spec.submodule_search_locations = []
            return spec
        return None

    def is_package(self, fullname: str) -> bool:
        """Whether the module is a package with an ``__init__.py``."""
        return (self._path(fullname) or "").endswith("__init__.py")

    def get_source(self, fullname: str) -> str:
        """Return the text; tracebacks find their lines through it."""
        path = self._path(fullname)
        if path is None:
            raise ImportError(f"{fullname} is not in the package", name=fullname)
        return self.files[path]

    def get_code(self, fullname: str) -> types.CodeType:
        """Compile a module under its path in the bundle."""
        path, text = str(self._path(fullname)), self.get_source(fullname)
        linecache.cache[path] = (len(text), None, text.splitlines(keepends=True), path)
        return compile(text, path, "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        """Run a module's code with ``__file__`` set to its path in the bundle."""
        module.__file__ = self._path(module.__name__)
        super().exec_module(module)

    def _path(self, fullname: str) -> str | None:
        base = fullname.replace(".", "/")
        return next((path for path in (f"{base}/__init__.py", f"{base}.py") if path in self.files), None)


class _Builder:
    """Executes the definitions of a package in the order in which they need one another."""

    def __init__(self, ref: FunctionRef, package: Mapping[str, Any]) -> None:
        self._package = package
        self._file = ref.module
        name = f"_airflow_ml_{ref.digest.rpartition(':')[2][:16]}"
        self.module = types.ModuleType(name)
        self.module.__file__ = ref.module
        sys.modules[name] = self.module  # dataclasses and pickling within user code look it up
        self._built: dict[str, Any] = {}
        self._started: set[str] = set()
        self._late: list[tuple[types.CellType, str]] = []
        self._register_lines()

    def function(self) -> Callable[..., Any]:
        """Return the entry function with all its names bound."""
        namespace = vars(self.module)
        bindings = self._package["globals"]
        for name, binding in bindings.items():
            if "definition" not in binding:
                namespace[name] = _resolve(binding)
        entry = self._package["entry"]
        for key in [entry, *(item["definition"] for item in bindings.values() if "definition" in item)]:
            self._build(key)
        for cell, key in self._late:
            self._build(key)
            cell.cell_contents = self._built[key]
        function: Callable[..., Any] = self._built[entry]
        return function

    def _build(self, key: str) -> None:
        if key in self._started:
            return
        self._started.add(key)
        item = self._package["definitions"][key]
        bindings = {**self._package["globals"], **item["cells"]}
        for name in item["eager"]:
            needed = bindings.get(name, {}).get("definition")
            if needed is not None and needed != key:
                self._build(needed)
        value = self._execute(item, self._package["lines"][key])
        inner = inspect.unwrap(value) if callable(value) else value
        if isinstance(inner, types.FunctionType):
            if "defaults" in item:
                inner.__defaults__ = tuple(decode_constant(item["defaults"])) or None
                inner.__kwdefaults__ = decode_constant(item["kwdefaults"]) or None
            inner.__qualname__ = key.partition("#")[0]
        self._built[key] = value
        for name, binding in self._package["globals"].items():
            if binding.get("definition") == key:
                setattr(self.module, name, value)

    def _execute(self, item: Mapping[str, Any], line: int) -> Any:
        node = parse_snippet(_snippet(item, line))
        node = drop_defaults(node) if "defaults" in item else node
        name, cells = item["name"], item["cells"]
        namespace = vars(self.module)
        if not cells:
            # A name of the file that is not this definition may be the same: keep it.
            before = namespace.get(name, _Builder)
            exec(self._compile([node]), namespace)  # noqa: S102 - running the user's code is the purpose
            value = namespace[name]
            if before is _Builder:
                del namespace[name]
            else:
                namespace[name] = before
            return value
        holder: dict[str, Any] = {}
        exec(self._compile([_factory(node, name, sorted(cells))]), namespace, holder)  # noqa: S102 - as above
        values, waiting = {}, {}
        for cell, binding in cells.items():
            key = binding.get("definition")
            if key is not None and key not in self._built:
                waiting[cell] = key
            values[cell] = self._built.get(key) if key is not None else _resolve(binding)
        value, made = holder[_FACTORY](**values)
        self._late += [(made[cell], key) for cell, key in waiting.items()]
        return value

    def _compile(self, body: list[ast.stmt]) -> types.CodeType:
        module = ast.fix_missing_locations(ast.Module(body=body, type_ignores=[]))
        code: types.CodeType = compile(module, self._file, "exec", flags=FLAGS, dont_inherit=True)
        return code

    def _register_lines(self) -> None:
        lines = list(linecache.getlines(self._file))  # the file itself, or what was loaded from it before
        before = list(lines)
        for key, item in self._package["definitions"].items():
            first, text = self._package["lines"][key] - 1, item["source"].splitlines(keepends=True)
            lines += ["\n"] * (first + len(text) - len(lines))
            lines[first : first + len(text)] = text
        if lines == before:
            return
        # Without a modification time linecache keeps the entry, even if a file of that name is here and differs.
        linecache.cache[self._file] = (sum(map(len, lines)), None, lines, self._file)


def _factory(node: ast.stmt, name: str, cells: list[str]) -> ast.stmt:
    """Wrap a definition into a function whose parameters are its closure, so that it closes over them again."""
    source = (
        f"def {_FACTORY}({', '.join(cells)}):\n"
        f"    def {_CELLS}(): return ({', '.join(cells)},)\n"
        f"    return {name}, dict(zip({_CELLS}.__code__.co_freevars, {_CELLS}.__closure__))\n"
    )
    wrapper = ast.parse(source).body[0]
    if isinstance(wrapper, ast.FunctionDef):
        wrapper.body.insert(1, node)
    return wrapper


def _snippet(item: Mapping[str, Any], line: int) -> Snippet:
    return Snippet(item["name"], line, item["source"], item["indented"])


def _resolve(binding: Mapping[str, Any]) -> Any:
    if "constant" in binding:
        return decode_constant(binding["constant"])
    value: Any = importlib.import_module(binding["module"])
    for name in binding.get("below", ()):
        importlib.import_module(name)
    for part in binding.get("attribute", "").split("."):
        value = getattr(value, part) if part else value
    return value


def _install(finder: BundleFinder) -> None:
    """Put the finder first; a package that was installed before with the same files is not installed twice."""
    if not any(isinstance(other, BundleFinder) and other.files == finder.files for other in sys.meta_path):
        sys.meta_path.insert(0, finder)
