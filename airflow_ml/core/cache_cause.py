"""Why a call's result was in the cache, or which component of its key was new."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from airflow_ml.core.call import Call
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.provenance import Provenance


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheCause:
    """A call beside the most similar one before it."""

    #: The attempt with the same key, or with the fewest differences; None where there is none.
    nearest: Provenance | None
    #: Components of the key that differ: ``function``, ``arguments.<name>``, ``seed``, ``environment``, ``namespace``.
    changed: tuple[str, ...]


def cache_cause(call: Call, earlier: Iterable[Provenance]) -> CacheCause:
    """Compare a call with earlier ones, the latest first; of equally similar ones the first counts.

    No more of them are taken than are needed: the same call ends the search.
    """
    parts = _components(call)
    best: CacheCause | None = None
    for item in earlier:
        if item.call is not None and item.outcome == "succeeded":
            before = _components(item.call)
            changed = tuple(name for name in sorted({*parts, *before}) if parts.get(name) != before.get(name))
            if best is None or len(changed) < len(best.changed):
                best = CacheCause(nearest=item, changed=changed)
            if not changed:
                break
    return best or CacheCause(nearest=None, changed=())


def _components(call: Call) -> dict[str, str]:
    """Return what `Call.key` is made of, by name."""
    function = digest_json([call.function.kind, call.function.qualname, call.function.digest])
    arguments = {f"arguments.{name}": digest_json(value) for name, value in call.arguments.items()}
    rest = {"seed": str(call.seed), "environment": call.environment, "namespace": call.namespace}
    return {"function": function, **arguments, **rest}
