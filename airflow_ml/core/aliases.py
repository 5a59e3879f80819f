"""The aliases of a registered model, and their form in namespaces other than production."""

from __future__ import annotations

import hashlib
import re

CHAMPION, CHALLENGER, PREVIOUS = "champion", "challenger", "previous"
#: The namespace of the deployment itself; others are branches and users, which never write what belongs to it.
PRODUCTION = "prod"


def alias_in(namespace: str, alias: str) -> str:
    """Return an alias as a namespace has it: ``challenger``, and for the branch ``ada`` ``challenger-ada``."""
    if namespace == PRODUCTION:
        return alias
    plain = re.sub(r"[^A-Za-z0-9_]+", "-", namespace).strip("-")
    # Two namespaces that look alike without their special characters stay two.
    mark = "" if plain == namespace else f"-{hashlib.sha256(namespace.encode()).hexdigest()[:6]}"
    return f"{alias}-{plain}{mark}"
