"""The bundle and its icons: the files of one folder, by name, behind a session like everything else."""

from __future__ import annotations

from pathlib import Path as FilePath
from typing import Annotated

import anyio
from fastapi import APIRouter, HTTPException, Path, Query
from starlette.responses import FileResponse, Response

from airflow_ml.plugin.bundle import DIST

router = APIRouter()

#: Types by suffix, not by the machine's own table; what is not here is not served.
TYPES = {
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".map": "application/json",
}
#: The address carries the content's digest.
_FOR_EVER = "private, max-age=31536000, immutable"


@router.api_route("/static/{name}", methods=["GET", "HEAD"])
async def static(name: Annotated[str, Path(max_length=128)], v: Annotated[str, Query(max_length=64)] = "") -> Response:
    """One file of the build."""
    found = await anyio.to_thread.run_sync(_file, name)
    if found is None:
        raise HTTPException(404, "Not found")
    headers = {"Cache-Control": _FOR_EVER if v else "private, no-cache"}
    return FileResponse(found, media_type=TYPES[found.suffix], headers=headers)


def _file(name: str) -> FilePath | None:
    """Return a file of the build; only names that the folder itself lists are ever opened."""
    try:
        listed = list(DIST.iterdir())
    except OSError:
        return None
    found = next((path for path in listed if path.name == name and path.is_file() and not path.is_symlink()), None)
    return found if found is not None and found.suffix in TYPES else None
