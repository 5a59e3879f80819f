"""The name under which a model is served: its own in ``prod``, its own with the namespace everywhere else."""

from __future__ import annotations

import re

from airflow_ml.core.fingerprint import identity

PRODUCTION = "prod"
_PLAIN = re.compile(r"[A-Za-z0-9._=+-]{1,40}\Z")
_OTHER = re.compile(r"[^A-Za-z0-9._=+-]+")


def served_name(model: str, namespace: str) -> str:
    """Return the name of a model's entry in a router, so that two namespaces never share one.

    ``flights`` in ``prod`` is ``flights``; in ``alice`` it is ``flights@alice``. A namespace with other characters, or
    a long one, is shortened and ends in eight digits of its digest, so that no two have the same name.
    """
    if namespace == PRODUCTION:
        return model
    if _PLAIN.match(namespace):
        return f"{model}@{namespace}"
    short = _OTHER.sub("-", namespace)[:31].strip("-.")
    return f"{model}@{short}-{identity('namespace', namespace).removeprefix('sha256:')[:8]}"
