"""Which lines of a log's end are new, from one look at it to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

#: Lines of a log's end that one look takes: if there are more between two looks, some are not shown.
TAIL_LINES = 1000
#: Lines that are remembered, by which the end of one look is found in the next.
REMEMBERED = 200


def marks(lines: Sequence[str]) -> list[str]:
    """Return what is remembered of a log's last lines: eight hex digits for each of the last 200."""
    return [hashlib.sha256(line.encode()).hexdigest()[:8] for line in lines[-REMEMBERED:]]


def to_show(lines: Sequence[str], seen: Sequence[str], address: str) -> list[str]:
    """Return the lines behind those that were seen, and where there are more before them, a word on where these are.

    Args:
        lines: The end of the log as it is now: `TAIL_LINES` of it.
        seen: `marks` of an earlier look.
        address: Where the whole log is.
    """
    new = unseen(lines, seen)
    left_out = len(new) == len(lines) >= TAIL_LINES
    return [*([f"(Lines before these are not shown: {address})"] if left_out else []), *new]


def unseen(lines: Sequence[str], seen: Sequence[str]) -> Sequence[str]:
    """Return the lines behind those that were seen; all of them where none is known again.

    Args:
        lines: The end of the log as it is now.
        seen: `marks` of an earlier look.
    """
    if not seen:
        return lines
    now = [hashlib.sha256(line.encode()).hexdigest()[:8] for line in lines]
    best, behind = 0, 0
    for end in range(len(now), 0, -1):  # of several places the latest: a line that is shown twice helps nobody
        size = min(end, len(seen))
        if size > best and now[end - size : end] == list(seen[-size:]):
            best, behind = size, end
    return lines[behind:]
