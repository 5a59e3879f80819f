"""Suggestions for a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable


def near(name: str, known: Iterable[str], *, most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return the known names that are most like a name, the nearest first.

    Args:
        name: What was written.
        known: What there is.
        most: Names to return at most.
        cutoff: How alike they must be, from 0 to 1; the default is that of `difflib.get_close_matches`.
    """
    import difflib  # for a message only: nobody who writes the right name pays for it

    return difflib.get_close_matches(name, list(known), most, cutoff)


def did_you_mean(name: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """Return ``"Did you mean <the nearest>? "``, or an empty text where nothing is near."""
    return "".join(f"Did you mean {one}? " for one in near(name, known, cutoff=cutoff))
