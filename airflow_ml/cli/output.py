"""How verbs print: aligned columns for people, JSON for programs."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping
from typing import Any


def print_rows(options: argparse.Namespace, rows: Iterable[Mapping[str, Any]]) -> None:
    """Print rows with the same keys, as ``--output`` says."""
    found = list(rows)
    if options.output == "json":
        print_json(found)
        return
    if not found:
        print("Nothing there.")
        return
    columns = list(found[0])
    cells = [columns, *([("" if row[name] is None else str(row[name])) for name in columns] for row in found)]
    widths = [max(len(line[number]) for line in cells) for number in range(len(columns))]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def print_json(value: Any) -> None:
    """Print a JSON value for people and programs alike."""
    print(json.dumps(value, indent=2, ensure_ascii=False))
