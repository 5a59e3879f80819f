"""How much memory a process and its children needed."""

from __future__ import annotations

import resource
import sys

#: Linux tells kilobytes, macOS bytes.
_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def peak_memory_bytes() -> int:
    """Return the largest resident size that this process, or one of its ended children, ever had."""
    sizes = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return max(sizes) * _UNIT_BYTES
