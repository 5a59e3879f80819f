"""The paths at which a container expects its mounts, where there is no mount namespace."""

from __future__ import annotations

import re
from pathlib import Path

#: Mounts at these places only move TMPDIR: half of all paths of this machine begin with them.
_SCRATCH = ("/tmp", "/var/tmp", "/dev/shm", "/")


class Paths:
    """Where a container's mounts are on this machine. There is no mount namespace, so paths in text are rewritten."""

    def __init__(self, mounts: list[tuple[str, Path]]) -> None:
        self.temporary = next((folder for place, folder in mounts if place in _SCRATCH[:2]), None)
        self._folders = {
            place: folder for place, folder in mounts if place not in _SCRATCH and place.rstrip("/") != str(folder)
        }
        # Places that are the same here still hide a shorter mount above them.
        known = sorted((place for place, _ in mounts if place not in _SCRATCH), key=len, reverse=True)
        alternatives = "|".join(re.escape(place.rstrip("/")) for place in known)
        self._pattern = re.compile(rf"(?:(?<=://)|(?<![\w./-]))({alternatives})(?![\w.-])") if known else None

    def rewrite(self, text: str) -> str:
        """Return text in which paths below a mount are those of its folder."""
        if self._pattern is None:
            return text
        return self._pattern.sub(lambda found: str(self._folders.get(found[1], found[1])), text)
