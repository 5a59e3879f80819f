"""Which lines of a log's end are new, from one look at it to the next."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

#: Lines that are remembered: if there are more between two looks, some are not shown.
REMEMBERED = 200


def marks(lines: Sequence[str]) -> list[str]:
    """Return what is remembered of a log's last lines: eight hex digits for each of the last 200."""
    return [hashlib.sha256(line.encode()).hexdigest()[:8] for line in lines[-REMEMBERED:]]


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
