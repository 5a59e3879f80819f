"""Programs that look for processes by name, as containers get them: each finds its own session's and no other."""

from __future__ import annotations

import shutil
from pathlib import Path

#: What each of them runs here. ``-s 0`` is the session of the program itself, and a container is a session.
_SCRIPTS = {
    "pgrep": 'exec {pgrep} -s 0 "$@"',
    "pkill": 'exec {pkill} -s 0 "$@"',
    "killall": 'signal=\nfor word do\n  case "$word" in\n    -*) signal=$word ;;\n'
    '    *) {pkill} $signal -s 0 -x -- "$word" || exit 1 ;;\n  esac\ndone',
}


def make_programs(folder: Path) -> Path:
    """Write the programs into a folder, which comes first in the PATH of each container, and return it.

    Where this machine has no ``pgrep``, nor have the containers.
    """
    folder.mkdir(parents=True, exist_ok=True)
    here = {name: shutil.which(name, path="/usr/bin:/bin:/usr/local/bin") for name in ("pgrep", "pkill")}
    for name, script in _SCRIPTS.items():
        text = script.format(**here) if all(here.values()) else f'echo "{name}: not found" >&2; exit 127'
        file = folder / name
        file.write_text(f"#!/bin/sh\n{text}\n")
        file.chmod(0o755)
    return folder
