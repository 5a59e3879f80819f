"""Secrets that Airflow knows, masked or refused in whatever is about to be written down."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow.sdk.log import redact  # type: ignore[attr-defined]  # the SDK's own; it has no other door

from airflow_ml.core.provenance import bounded, without_records
from airflow_ml.core.record import JSON
from airflow_ml.core.secret_scan import is_secret_name
from airflow_ml.errors import ConfigurationError


def masked(value: JSON, name: str | None = None) -> JSON:
    """Return a value with the secrets that Airflow knows masked, at any depth."""
    if isinstance(value, Mapping):
        return {key: masked(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [masked(item, name) for item in value]
    return str(redact(value, name)) if isinstance(value, str) else value


def holds_secret(value: JSON) -> bool:
    """Tell whether a value holds a secret that Airflow knows, or a text under the name of one, at any depth."""
    if isinstance(value, Mapping):
        named = any(isinstance(item, str) and item and is_secret_name(key) for key, item in value.items())
        return named or any(holds_secret(item) for item in value.values())
    if isinstance(value, list):
        return any(holds_secret(item) for item in value)
    return isinstance(value, str) and str(redact(value)) != value


def refuse_secrets(arguments: Mapping[str, JSON]) -> None:
    """Refuse arguments that hold a secret which Airflow knows: a call is written to the store before it runs elsewhere.

    Raises:
        ConfigurationError: naming the arguments, never the secret.
    """
    found = [name for name, value in arguments.items() if holds_secret({name: value})]
    if found:
        raise ConfigurationError(
            "A secret is an argument of a function that runs in another process",
            ", ".join(found),
            'It would be written into the store. Use compute="worker" and read the secret inside of the function.',
        )


def masked_settings(values: Mapping[str, Any]) -> dict[str, JSON]:
    """Return arguments as JSON with secrets masked; a very large value is replaced by its digest."""
    return {str(name): bounded(masked(without_records(value), name)) for name, value in values.items()}
