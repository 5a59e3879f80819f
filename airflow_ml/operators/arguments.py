"""Operator arguments as plain data, so that Airflow's templating reaches every depth of them.

Inside a frozen object an XComArg would make no edge and Jinja would not be rendered; so views, checks and splits become
plain dicts in ``__init__`` and are rebuilt in ``execute``.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from airflow.sdk.definitions._internal.mixins import ResolveMixin

from airflow_ml.core.fingerprint import format_time


def plain(value: Any) -> Any:
    """Return a value with every object that has ``to_dict`` as its dict, at any depth; XComArgs stay as they are."""
    if isinstance(value, type) or value is None or isinstance(value, bool | int | float | str):
        return value
    to_dict = getattr(value, "to_dict", None)
    if callable(to_dict):
        return plain(to_dict())
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, timedelta):
        return f"{value.total_seconds():g}s"
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def is_known(value: Any) -> bool:
    """Whether a value is all there before the task runs: no XComArg, no Jinja, no callable, at any depth."""
    if isinstance(value, str):
        return not any(mark in value for mark in ("{{", "{%", "{#"))
    if isinstance(value, Mapping):
        return all(is_known(item) for item in value.values())
    if isinstance(value, list | tuple):
        return all(is_known(item) for item in value)
    return not isinstance(value, ResolveMixin) and not callable(value)
