"""The text of captured functions, and how two of them differ."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from typing import Any


def code_texts(package: Mapping[str, Any]) -> dict[str, str]:
    """Return the sources in a code package by name: captured definitions, then files of the project."""
    definitions = package.get("definitions", {}).values()
    found = {str(item["name"]): str(item["source"]) for item in definitions}
    return {**found, **{str(path): str(text) for path, text in package.get("files", {}).items()}}


def code_diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[str]:
    """Yield a unified diff of two code packages, without line ends."""
    left, right = code_texts(before), code_texts(after)
    for name in sorted({*left, *right}):
        old, new = (texts.get(name, "").splitlines() for texts in (left, right))
        yield from difflib.unified_diff(old, new, f"first/{name}", f"second/{name}", lineterm="")
