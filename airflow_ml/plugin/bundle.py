"""Where the pages' bundle lies, on disk and for the browser."""

from __future__ import annotations

import hashlib
from pathlib import Path
from urllib.parse import urlsplit

#: The committed build of ``www``.
DIST = Path(__file__).parent / "www" / "dist"
BUNDLE = "airflow_ml.js"


def base_path() -> str:
    """Return the path under which Airflow itself is served: "" or for example ``/team/airflow``."""
    from airflow.sdk import conf

    return urlsplit(str(conf.get("api", "base_url", fallback="") or "")).path.rstrip("/")


def bundle_url() -> str:
    """Return the bundle's address with the digest of its content: a browser may keep it for ever."""
    return _static(BUNDLE)


def icon_url(theme: str) -> str:
    """Return the address of the navigation's icon for a ``light`` or ``dark`` page."""
    return _static(f"icon-{theme}.svg")


def _static(name: str) -> str:
    from airflow_ml.plugin import URL_PREFIX

    try:
        version = hashlib.sha256((DIST / name).read_bytes()).hexdigest()[:16]
    except OSError:
        version = "absent"  # the address stays; what it answers says what is missing
    return f"{base_path()}{URL_PREFIX}/static/{name}?v={version}"
