"""MLflow's limits on names, lengths and batch sizes, and how longer values are shortened without losing their identity.

The numbers are those of ``mlflow/utils/validation.py`` in MLflow 3.17. A text that is too long keeps its head and gets
the digest of the whole as its tail, so that two values that differ stay different and the full one can be found.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TypeVar

from airflow_ml.core.fingerprint import canonical_json, digest_bytes, finite
from airflow_ml.core.record import JSON
from airflow_ml.errors import ConfigurationError

MAX_PARAM_CHARS = 6000
MAX_TAG_CHARS = 8000
#: MLflow allows 100,000 on a model version, but a MySQL TEXT column ends at 65,535 bytes.
MAX_VERSION_TAG_CHARS = 60_000
MAX_KEY_CHARS = 250
MAX_PARAMS_OR_TAGS = 100
MAX_METRICS = 1000
#: MLflow's limit is 1 MB for the whole body; the rest is for its JSON frame and for escapes.
MAX_BATCH_BYTES = 400_000

_BAD_KEY = re.compile(r"[^\w.\- /]")
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._:@=+/-]{0,249}\Z")
V = TypeVar("V")


def fit_key(name: str) -> str:
    """Return a name for a param, metric or tag: other characters become ``_``, a long name ends in its digest.

    A name that had to be changed carries 8 digits of its digest, so that two names never become one. MLflow also
    refuses names that are not clean paths (``..``, a leading ``/``).
    """
    clean = _BAD_KEY.sub("_", name).strip()
    if clean.startswith("/") or any(part in ("", ".", "..") for part in clean.split("/")):
        clean = clean.replace("/", "_").lstrip(".") or "_"
    if clean == name and len(name) <= MAX_KEY_CHARS:
        return name
    return f"{clean[: MAX_KEY_CHARS - 9]}_{_short(name)}"


def fit_text(value: JSON, limit: int) -> str:
    """Return a value as text of at most ``limit`` characters; text as it is, anything else as canonical JSON."""
    text = value if isinstance(value, str) else canonical_json(value).decode()
    if len(text) <= limit:
        return text
    pointer = f"... {digest_bytes(text.encode())} ({len(text)} characters)"
    return text[: limit - len(pointer)] + pointer


def fit_params(params: Mapping[str, JSON]) -> dict[str, str]:
    """Return params as MLflow takes them."""
    return {fit_key(name): fit_text(value, MAX_PARAM_CHARS) for name, value in params.items()}


def fit_tags(tags: Mapping[str, str], limit: int = MAX_TAG_CHARS) -> dict[str, str]:
    """Return tags as MLflow takes them on a run, or with ``MAX_VERSION_TAG_CHARS`` on a model version."""
    return {fit_key(name): fit_text(value, limit) for name, value in tags.items()}


def fit_metrics(metrics: Mapping[str, float]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Return the finite metrics, and the names of the others: a database column holds no infinity."""
    kept = {fit_key(name): number for name, value in metrics.items() if (number := finite(value)) is not None}
    return kept, tuple(sorted(name for name, value in metrics.items() if finite(value) is None))


def batches(items: Mapping[str, V], *, count: int, size_bytes: int = MAX_BATCH_BYTES) -> Iterator[dict[str, V]]:
    """Divide items into batches of at most ``count`` items and about ``size_bytes`` bytes of JSON."""
    batch: dict[str, V] = {}
    used = 0
    for name, value in items.items():
        size = len(canonical_json([name, value]))
        if batch and (len(batch) >= count or used + size > size_bytes):
            yield batch
            batch, used = {}, 0
        batch[name] = value
        used += size
    if batch:
        yield batch


def check_plain(kind: str, value: str) -> str:
    """Return a name that can stand in MLflow's search language without quoting.

    Raises:
        ConfigurationError: for quotes, control characters and the like.
    """
    if not isinstance(value, str) or not _PLAIN.match(value):
        raise ConfigurationError(
            f"Not a {kind}", repr(value)[:120], "Use up to 250 of A-Z a-z 0-9 . _ : @ = + - / and spaces."
        )
    return value


def _short(text: str) -> str:
    return digest_bytes(text.encode()).partition(":")[2][:8]
