"""Read the options of a model check from its wire form, where a template may have rendered numbers as text."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from airflow_ml.core.direction import MAXIMIZE
from airflow_ml.core.metrics import metric
from airflow_ml.core.severity import CRITICAL, SEVERITIES
from airflow_ml.errors import ConfigurationError

#: Smallest value of the options that count something: 200 draws are the least that show a tail.
_LEAST = {"resamples": 200, "min_rows": 1}


def read_options(check: str, fields: Sequence[dataclasses.Field[Any]], options: Mapping[str, Any]) -> dict[str, object]:
    """Return the options with the types that the check's fields declare.

    Args:
        check: The check's name, for messages.
        fields: The fields of its dataclass.
        options: What was written, without the check's name.

    Raises:
        ConfigurationError: for an unknown or absent option, an unknown metric, or a value that cannot work.
    """
    known = {item.name: item for item in fields}
    unknown = sorted(set(options) - set(known))
    absent = [name for name, item in known.items() if item.default is dataclasses.MISSING and name not in options]
    if unknown or absent:
        problem = f"{check} has no option" if unknown else f"{check} needs"
        raise ConfigurationError(problem, ", ".join(unknown or absent), f"Its options are {', '.join(known)}.")
    read = {name: _option(check, name, str(known[name].type), value) for name, value in options.items()}
    metric(str(read["metric"]))
    if "at_least" in known:
        _require_bound(check, read)
    _refuse(check, read)
    return read


def _option(check: str, name: str, kind: str, value: object) -> object:
    if kind == "str":
        return str(value)
    if value is None and "None" in kind:
        return None
    try:
        number = int(str(value)) if kind == "int" else float(str(value))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ConfigurationError(f"{name} of {check} is not a number", repr(value)[:120], "Give a finite number.")
    return number


def _require_bound(check: str, options: Mapping[str, Any]) -> None:
    if options.get("at_least") is None and options.get("at_most") is None:
        natural = "at_least" if metric(options["metric"]).direction == MAXIMIZE else "at_most"
        raise ConfigurationError(f"{check} of {options['metric']} has no bound", "", f"Give {natural}.")


def _refuse(check: str, options: Mapping[str, Any]) -> None:
    severity, baseline = options.get("severity", CRITICAL), options.get("baseline", "train_mean")
    if severity not in SEVERITIES:
        raise ConfigurationError(f"Unknown severity of {check}", severity, f"Use one of {', '.join(SEVERITIES)}.")
    if baseline != "train_mean":
        raise ConfigurationError("Unknown baseline", baseline, "The only one is train_mean.")
    if not 0.5 < options.get("confidence", 0.95) < 1:
        raise ConfigurationError(
            f"confidence of {check} is out of range", options["confidence"], "Use a number between 0.5 and 1."
        )
    if options.get("margin", 0.0) < 0:
        raise ConfigurationError(
            f"margin of {check} is negative", options["margin"], "Use zero, or the harm you tolerate."
        )
    for name, least in _LEAST.items():
        if options.get(name, least) < least:
            raise ConfigurationError(f"{name} of {check} is too small", options[name], f"Use {least} or more.")
