"""A griffe extension: the ``#:`` comments at the fields of records become their documentation."""

from __future__ import annotations

from typing import Any

import griffe

_MARK = "#:"


class FieldComments(griffe.Extension):
    """Gives an attribute without a docstring the ``#:`` comment above it, or behind it on its line."""

    def on_attribute(self, *, attr: griffe.Attribute, **kwargs: Any) -> None:
        """Read the comment out of the attribute's file."""
        path = attr.filepath
        if attr.docstring is not None or attr.lineno is None or isinstance(path, list):
            return
        text = comment_of(attr.lines_collection[path], attr.lineno, attr.endlineno or attr.lineno)
        if text:
            attr.docstring = griffe.Docstring(text, lineno=attr.lineno, parent=attr)


def comment_of(lines: list[str], first: int, last: int) -> str:
    """Return the ``#:`` comment of a statement.

    Args:
        lines: The file.
        first: Number of the statement's first line, from 1.
        last: Number of its last line.
    """
    behind = lines[last - 1].partition(_MARK)[2].strip()
    if behind:
        return behind
    above: list[str] = []
    for line in reversed(lines[: first - 1]):
        if not line.strip().startswith(_MARK):
            break
        above.append(line.strip().removeprefix(_MARK).strip())
    return " ".join(reversed(above))
