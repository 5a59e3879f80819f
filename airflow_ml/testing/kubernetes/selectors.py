"""Label and field selectors as the API's query strings spell them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from airflow_ml.testing.kubernetes.resources import ApiError, Object

Test = Callable[[Object], bool]
_SET = re.compile(r"^(\S+)\s+(in|notin)\s*\(([^)]*)\)$")


def selector(query: Mapping[str, str]) -> Test | None:
    """Return what tells whether an object is selected; None where all are.

    Raises:
        ApiError: 400, it cannot be read.
    """
    tests = [_label(part) for part in _parts(query.get("labelSelector", ""))]
    tests += [_field(part) for part in _parts(query.get("fieldSelector", ""))]
    if not tests:
        return None
    return lambda item: all(test(item) for test in tests)


def matches_expressions(labels: Mapping[str, str], expressions: list[dict[str, Any]]) -> bool:
    """Tell whether labels fulfil all ``matchExpressions`` of a node selector term."""
    return all(_expression(labels.get(one["key"]), one["operator"], one.get("values") or []) for one in expressions)


def _expression(value: str | None, operator: str, values: list[str]) -> bool:
    if operator == "Exists":
        return value is not None
    if operator == "DoesNotExist":
        return value is None
    if operator == "In":
        return value in values
    if operator == "NotIn":
        return value not in values
    if value is None or not value.lstrip("-").isdigit():
        return False
    return int(value) > int(values[0]) if operator == "Gt" else int(value) < int(values[0])


def _parts(text: str) -> list[str]:
    return [part.strip() for part in re.split(r",(?![^(]*\))", text) if part.strip()]


def _label(part: str) -> Test:
    if found := _SET.match(part):
        name, operator, listed = found.groups()
        values = {value.strip() for value in listed.split(",")}
        return lambda item: (_labels(item).get(name) in values) == (operator == "in")
    if "!=" in part:
        name, _, value = part.partition("!=")
        return lambda item: _labels(item).get(name.strip()) != value.strip()
    if "=" in part:
        name, _, value = part.replace("==", "=").partition("=")
        return lambda item: _labels(item).get(name.strip()) == value.strip()
    if part.startswith("!"):
        return lambda item: part[1:].strip() not in _labels(item)
    if " " in part:
        raise ApiError(400, "BadRequest", f"unable to parse requirement: {part!r}")
    return lambda item: part in _labels(item)


def _field(part: str) -> Test:
    unequal = "!=" in part
    path, _, value = part.partition("!=") if unequal else part.replace("==", "=").partition("=")
    steps = path.strip().split(".")

    def test(item: Object) -> bool:
        found: Any = item
        for step in steps:
            found = found.get(step) if isinstance(found, dict) else None
        return (str("" if found is None else found) == value.strip()) != unequal

    return test


def _labels(item: Object) -> Mapping[str, str]:
    return item["metadata"].get("labels") or {}
