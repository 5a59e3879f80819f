"""One Python file as text and syntax tree: find a live function's definition in it, and the names it needs."""

from __future__ import annotations
import __future__

import ast
import dis
import inspect
import linecache
import tokenize
import types
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from airflow_ml.errors import NotPortable
from airflow_ml.runtime.bundle import parsed

_READS = frozenset({"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"})
_WRITES = frozenset({"STORE_GLOBAL", "STORE_NAME", "DELETE_NAME", "DELETE_GLOBAL"})
_COMPREHENSIONS = frozenset({"<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>"})
#: Annotations stay text: they are never evaluated, so what only they name need not travel.
FLAGS = __future__.annotations.compiler_flag


@dataclass(frozen=True, slots=True)
class Snippet:
    """The source of one definition, exactly as in its file."""

    name: str
    #: Line number of the first line of ``source``.
    line: int
    source: str
    indented: bool


@dataclass(frozen=True, slots=True)
class Names:
    """Names that a snippet reads from outside of itself."""

    #: Needed when the definition itself is executed: bases, decorators, defaults, class bodies.
    eager: tuple[str, ...]
    #: All of them.
    every: tuple[str, ...]
    #: Of these, the ones that the snippet may also set itself, so that they need not exist beforehand.
    optional: frozenset[str]


class SourceFile:
    """The file in which a function was defined."""

    def __init__(self, path: str, module_globals: dict[str, Any]) -> None:
        self.path = path
        if Path(path).is_file():
            with tokenize.open(path) as file:  # not linecache: loaded functions register their lines there
                self.lines = file.readlines()
        else:  # a notebook's cell, or a zipped bundle
            self.lines = linecache.getlines(path, module_globals)
        if not self.lines:
            raise NotPortable("The source of the function cannot be read", path, "Define it in a file.")
        self.tree = parsed("".join(self.lines), path)

    def snippet(self, value: Any, *, decorated: bool) -> Snippet:
        """Return the source of a live function or class of this file.

        Args:
            value: A plain function or a class.
            decorated: Whether its decorators belong to it.

        Raises:
            NotPortable: the file does not hold it (any more).
        """
        node = self._class_node(value) if inspect.isclass(value) else self._function_node(value)
        first = min([node.lineno, *(item.lineno for item in node.decorator_list)]) if decorated else node.lineno
        text = "".join(self.lines[first - 1 : node.end_lineno])
        return Snippet(node.name, first, text if text.endswith("\n") else text + "\n", text[:1] in " \t")

    def submodules(self, name: str) -> list[str]:
        """Return what ``import name.sub`` statements of this file import below a module's name."""
        found = {
            alias.name
            for node in ast.walk(self.tree)
            if isinstance(node, ast.Import)
            for alias in node.names
            if alias.asname is None and alias.name.startswith(f"{name}.")
        }
        return sorted(found)

    def imported_as(self, name: str) -> Iterator[tuple[str, str]]:
        """Yield (module, attribute) of every ``from module import attribute [as name]`` of this file."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.ImportFrom) and node.module and not node.level:
                for alias in node.names:
                    if (alias.asname or alias.name) == name:
                        yield node.module, alias.name

    def _function_node(self, function: types.FunctionType) -> ast.FunctionDef:
        code = function.__code__
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == code.co_name:
                first = min([node.lineno, *(item.lineno for item in node.decorator_list)])
                if first != code.co_firstlineno:
                    continue
                if isinstance(node, ast.AsyncFunctionDef):
                    raise NotPortable("An async function cannot be captured", code.co_name, "Make it a plain def.")
                arguments = node.args
                names = [item.arg for item in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
                if names == list(code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]):
                    return node
        if code.co_name == "<lambda>":
            raise NotPortable(
                "A lambda cannot be captured", f"{self.path}:{code.co_firstlineno}", "Give it a name with def."
            )
        raise NotPortable(
            f"The definition of {code.co_name} is not at line {code.co_firstlineno} of its file",
            self.path,
            "The file has changed since it was imported: run the task again.",
        )

    def _class_node(self, kind: type) -> ast.ClassDef:
        lines = [
            item.__code__.co_firstlineno
            for item in vars(kind).values()
            if isinstance(item, types.FunctionType) and item.__code__.co_filename == self.path
        ]
        found = [node for node in ast.walk(self.tree) if isinstance(node, ast.ClassDef) and node.name == kind.__name__]
        for node in reversed(found):
            if all(node.lineno <= line <= (node.end_lineno or line) for line in lines):
                return node
        raise NotPortable(
            f"The definition of class {kind.__name__} is not in its file",
            self.path,
            "Define it with a class statement.",
        )


def parse_snippet(snippet: Snippet) -> ast.stmt:
    """Return the syntax tree of a snippet with the line numbers of its file."""
    text, line = (
        (f"if True:\n{snippet.source}", snippet.line - 1) if snippet.indented else (snippet.source, snippet.line)
    )
    tree = ast.parse(text)
    node = tree.body[0].body[0] if snippet.indented else tree.body[0]  # type: ignore[attr-defined]  # the `if` above
    ast.increment_lineno(tree, line - 1)
    return node


def drop_defaults(node: ast.stmt) -> ast.stmt:
    """Put None for a function's default values, in place; their number stays."""
    if isinstance(node, ast.FunctionDef):
        node.args.defaults = [ast.copy_location(ast.Constant(None), item) for item in node.args.defaults]
        node.args.kw_defaults = [item and ast.copy_location(ast.Constant(None), item) for item in node.args.kw_defaults]
    return node


def names_of(snippet: Snippet, *, defaults: bool) -> Names:
    """Return the names that a snippet reads from outside, found in its compiled code, so with Python's own scoping.

    Args:
        snippet: One definition.
        defaults: Whether the expressions of its default values count.
    """
    node = parse_snippet(snippet)
    module = ast.Module(body=[node if defaults else drop_defaults(node)], type_ignores=[])
    code = compile(module, "<snippet>", "exec", flags=FLAGS, dont_inherit=True)
    eager, every, written = set[str](), set[str](), set[str]()
    _scan(code, eager, every, written, executed=True)
    written.discard(snippet.name)
    return Names(tuple(sorted(eager)), tuple(sorted(every)), frozenset(written))


def statements_of(snippet: Snippet) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the import statements anywhere in a snippet."""
    for node in ast.walk(parse_snippet(snippet)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node


def _scan(code: types.CodeType, eager: set[str], every: set[str], written: set[str], *, executed: bool) -> None:
    for step in dis.get_instructions(code):
        if step.opname in _READS:
            every.add(step.argval)
            if executed:
                eager.add(step.argval)
        elif step.opname in _WRITES:
            written.add(step.argval)
    for inner in code.co_consts:
        if isinstance(inner, types.CodeType):
            # Class bodies and comprehensions of executed code run with it; functions wait for their call.
            runs = executed and (not inner.co_flags & inspect.CO_NEWLOCALS or inner.co_name in _COMPREHENSIONS)
            _scan(inner, eager, every, written, executed=runs)
