"""The result of one check before anything runs: present, missing, or unknown."""

from __future__ import annotations

from dataclasses import dataclass

#: There; missing, so that a job would fail or wait for ever; cannot be seen from here.
OK, MISSING, UNKNOWN = "ok", "missing", "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What one check found."""

    check: str
    state: str
    #: What was seen, in the platform's own words where it has any.
    seen: str
    #: What to do where it is missing.
    remedy: str = ""


def present(check: str, seen: str) -> Finding:
    """Return the finding of something that is there."""
    return Finding(check=check, state=OK, seen=seen)


def missing(check: str, seen: str, remedy: str) -> Finding:
    """Return the finding of something that is missing."""
    return Finding(check=check, state=MISSING, seen=seen, remedy=remedy)


def unknown(check: str, seen: str, remedy: str = "") -> Finding:
    """Return the finding of something that cannot be seen from here."""
    return Finding(check=check, state=UNKNOWN, seen=seen, remedy=remedy)
