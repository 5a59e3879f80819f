"""Checks JSON against the interfaces of a TypeScript file: enough of it to hold two languages to one contract."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_][A-Za-z0-9_]*|\S')
_PLAIN = {"string": (str,), "number": (int, float), "boolean": (bool,), "null": (type(None),)}


class Types:
    """The exported interfaces and types of a file.

    Args:
        path: The file. It may use interfaces (also ``extends``), unions, literals, arrays, inline objects, index
            signatures and generics with one parameter.
    """

    def __init__(self, path: Path) -> None:
        text = re.sub(r"/\*.*?\*/|//[^\n]*", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        self._types: dict[str, tuple[str, list[str]]] = {}
        for kind, name, parameter, base, rest in re.findall(
            r"export (interface|type) (\w+)(?:<(\w+)>)?(?: extends (\w+))?([^;{=]*[={].*?)(?=\nexport |\Z)",
            text,
            re.DOTALL,
        ):
            tokens = _TOKEN.findall(rest.lstrip(" ="))
            tokens = tokens if kind == "interface" else tokens[: _end(tokens)]
            self._types[name] = (parameter, [base, "&", *tokens] if base else tokens)

    def problems(self, value: Any, name: str) -> list[str]:
        """Return where a value is not what a type says: fields that lack, that nobody declared, of another type."""
        return list(self._check(value, list(self._types[name][1]), name, {}))

    def _check(self, value: Any, tokens: list[str], at: str, bound: Mapping[str, list[str]]) -> Iterator[str]:
        options = _split(tokens, "|")
        if len(options) > 1:
            found = [list(self._check(value, option, at, bound)) for option in options]
            if all(found):
                yield from min(found, key=len)
            return
        if "&" in tokens and tokens[1] == "&":
            known, own = self._fields(self._types[tokens[0]][1]), self._fields(tokens[2:])
            yield from self._check_fields(value, {**known, **own}, at, bound)
        elif tokens[-2:] == ["[", "]"]:
            inner = tokens[:-2]
            inner = inner[1:-1] if inner[0] == "(" and inner[-1] == ")" else inner
            if not isinstance(value, list):
                yield f"{at}: {type(value).__name__} is no list"
            else:
                for index, item in enumerate(value):
                    yield from self._check(item, inner, f"{at}[{index}]", bound)
        elif tokens[0] == "{" and tokens[1:2] == ["["]:
            inner = tokens[tokens.index(":", tokens.index("]")) + 1 : -1]
            if not isinstance(value, dict):
                yield f"{at}: {type(value).__name__} is no object"
            else:
                for key, item in value.items():
                    yield from self._check(item, [one for one in inner if one != ";"], f"{at}.{key}", bound)
        elif tokens[0] == "{":
            yield from self._check_fields(value, self._fields(tokens), at, bound)
        else:
            yield from self._check_name(value, tokens, at, bound)

    def _check_name(self, value: Any, tokens: list[str], at: str, bound: Mapping[str, list[str]]) -> Iterator[str]:
        name = tokens[0]
        if name in bound:
            yield from self._check(value, bound[name], at, {})
        elif name in _PLAIN:
            right = isinstance(value, _PLAIN[name]) and (name != "number" or not isinstance(value, bool))
            if not right:
                yield f"{at}: {value!r:.60} is no {name}"
        elif name[0] == '"':
            if value != name[1:-1]:
                yield f"{at}: {value!r:.60} is not {name}"
        elif name.isdigit():
            if value != int(name):
                yield f"{at}: {value!r:.60} is not {name}"
        else:
            parameter, inner = self._types[name]
            more = {parameter: tokens[2:-1]} if parameter else {}
            yield from self._check(value, list(inner), at, more)

    def _check_fields(
        self, value: Any, fields: Mapping[str, tuple[bool, list[str]]], at: str, bound: Mapping[str, list[str]]
    ) -> Iterator[str]:
        if not isinstance(value, dict):
            yield f"{at}: {type(value).__name__} is no object"
            return
        for key in value.keys() - fields.keys():
            yield f"{at}.{key}: not in the contract"
        for key, (optional, tokens) in fields.items():
            if key in value:
                yield from self._check(value[key], tokens, f"{at}.{key}", bound)
            elif not optional:
                yield f"{at}.{key}: missing"

    def _fields(self, tokens: list[str]) -> dict[str, tuple[bool, list[str]]]:
        found = {}
        for field in _split(tokens[1:-1], ";"):
            if not field:
                continue
            colon = field.index(":")
            found[field[0].strip('"')] = ("?" in field[:colon], field[colon + 1 :])
        return found


def _end(tokens: list[str]) -> int:
    depth = 0
    for index, token in enumerate(tokens):
        depth += (token in "{[(<") - (token in "}])>")
        if token == ";" and depth == 0:
            return index
    return len(tokens)


def _split(tokens: list[str], by: str) -> list[list[str]]:
    """Split at a token outside of brackets; a leading ``|`` belongs to nothing."""
    found: list[list[str]] = [[]]
    depth = 0
    for token in tokens:
        depth += (token in "{[(<") - (token in "}])>")
        if token == by and depth == 0:
            found.append([])
        else:
            found[-1].append(token)
    return [part for part in found if part]
