"""Suites of Great Expectations, read without the library: while a DAG file is parsed nobody waits for it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from airflow_ml.core.severity import CRITICAL
from airflow_ml.errors import ConfigurationError


def load_suite(suite: object) -> list[dict[str, Any]]:
    """Return a suite as plain dicts, without importing Great Expectations; safe while a DAG file is parsed.

    Args:
        suite: The path of an ExpectationSuite's JSON file, its parsed content (``{"name", "expectations": [...]}``), a
            list of ``{"type", "kwargs", "severity"}``, a Great Expectations ``ExpectationSuite``, or a list of its
            expectation objects. Values inside ``kwargs`` are passed on as they are, templates included.

    Raises:
        ConfigurationError: if the file cannot be read, or the value is not a suite or an empty one.
    """
    name = str(suite) if isinstance(suite, str | os.PathLike) else type(suite).__name__
    content = _read_json(Path(suite)) if isinstance(suite, str | os.PathLike) else suite
    if not isinstance(content, Mapping | list | tuple) and hasattr(content, "expectations"):
        content = content.expectations
    items = content.get("expectations") if isinstance(content, Mapping) else content
    if not isinstance(items, list | tuple):
        raise ConfigurationError(
            "Not an expectation suite", name, 'Give a list of expectations, or {"name": ..., "expectations": [...]}.'
        )
    if not items:
        raise ConfigurationError("The suite holds no expectations", name, "A gate without checks never opens.")
    return [_as_dict(item, name) for item in items]


def _read_json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(
            "Cannot read the expectation suite", f"{path} ({error.strerror})", "Check the path."
        ) from None
    except ValueError as error:
        raise ConfigurationError(f"The suite {path} is not JSON", str(error)[:200], "Save it as JSON.") from None


def _as_dict(item: object, name: str) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        source = getattr(item, "configuration", item)
        item = source.to_json_dict() if hasattr(source, "to_json_dict") else item
    # Suites written before Great Expectations 1.0 say expectation_type.
    kind = (item.get("type") or item.get("expectation_type")) if isinstance(item, Mapping) else None
    if not isinstance(item, Mapping) or not isinstance(kind, str):
        raise ConfigurationError(
            f"An expectation of {name} has no type", repr(item)[:120], 'Write {"type": "expect_...", "kwargs": {...}}.'
        )
    return {"type": kind, "kwargs": dict(item.get("kwargs") or {}), "severity": item.get("severity") or CRITICAL}
