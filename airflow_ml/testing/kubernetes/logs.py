"""A container's log, with the parameters that the API knows."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from aiohttp import web

from airflow_ml.testing.kubernetes.pods import Kubelet
from airflow_ml.testing.kubernetes.resources import ApiError, Object, key_of

_LOOK_SECONDS = 0.05
_CHUNK_BYTES = 1 << 20


class Times:
    """When each part of a log was written, as far as one can tell afterwards.

    A process writes its file itself, so nobody notes the time of a line. What is new when somebody looks was written
    until the file's last change; the same line keeps its time.
    """

    def __init__(self) -> None:
        self._marks: dict[Path, list[tuple[int, datetime]]] = {}

    def look(self, path: Path) -> None:
        """Note how far a file is."""
        state = path.stat()
        marks = self._marks.setdefault(path, [])
        if not marks or marks[-1][0] < state.st_size:
            changed = datetime.fromtimestamp(state.st_mtime, UTC)
            marks.append((state.st_size, max(changed, marks[-1][1]) if marks else changed))

    def of(self, path: Path, offset: int) -> datetime:
        """Return the time of the line that begins here."""
        return next((time for end, time in self._marks.get(path, ()) if offset < end), datetime.now(UTC))


class Logs:
    """Serves logs from the files that the kubelet's processes write."""

    def __init__(self, kubelet: Kubelet, folder: Path) -> None:
        self._kubelet = kubelet
        self._folder = folder
        self._times = Times()

    async def serve(self, request: web.Request, pod: Object) -> web.StreamResponse:
        """Answer GET pods/NAME/log.

        Raises:
            ApiError: 400, there is no such container or no log yet.
        """
        query = request.query
        names = [one["name"] for one in [*pod["spec"]["containers"], *(pod["spec"].get("initContainers") or [])]]
        name = query.get("container") or names[0]
        if name not in names:
            raise ApiError(400, "BadRequest", f"container {name} is not valid for pod {pod['metadata']['name']}")
        if not query.get("container") and len(pod["spec"]["containers"]) > 1:
            listed = " ".join(one["name"] for one in pod["spec"]["containers"])
            text = f"a container name must be specified for pod {pod['metadata']['name']}, choose one of: [{listed}]"
            raise ApiError(400, "BadRequest", text)
        path = self._path(pod, name, previous=_true(query, "previous"))
        response = web.StreamResponse(headers={"Content-Type": "text/plain"})
        await response.prepare(request)
        try:
            await self._write(response, pod, name, path, query)
            await response.write_eof()
        except (ConnectionResetError, FileNotFoundError):
            pass  # the client has gone, or the pod with its log
        return response

    def _path(self, pod: Object, name: str, *, previous: bool) -> Path:
        folder = self._folder / "pods" / pod["metadata"]["uid"]
        attempts = sorted(folder.glob(f"{name}.*.log"), key=lambda path: int(path.suffixes[-2][1:]))
        wanted = attempts[-2:-1] if previous else attempts[-1:]
        if not wanted:
            reason = "ContainerCreating"
            for status in pod["status"].get("containerStatuses") or []:
                if status["name"] == name and "waiting" in status["state"]:
                    reason = status["state"]["waiting"]["reason"]
            text = f'container "{name}" in pod "{pod["metadata"]["name"]}" is waiting to start: {reason}'
            raise ApiError(400, "BadRequest", text)
        path: Path = wanted[0]
        return path

    async def _write(
        self, response: web.StreamResponse, pod: Object, name: str, path: Path, query: Mapping[str, str]
    ) -> None:
        offset = 0
        if "tailLines" in query:
            offset = _tail_offset(path, int(query["tailLines"]))
        since = _since(query)
        left = int(query["limitBytes"]) if "limitBytes" in query else None
        stamped, follow = _true(query, "timestamps"), _true(query, "follow")
        while True:
            running = self._running(pod, name)
            self._times.look(path)
            with path.open("rb") as file:
                file.seek(offset)
                while chunk := file.readlines(_CHUNK_BYTES):
                    if not chunk[-1].endswith(b"\n") and running and follow:
                        chunk.pop()  # the rest of the line comes
                        if not chunk:
                            break
                    lines = []
                    for line in chunk:
                        time = self._times.of(path, offset)
                        offset += len(line)
                        if since is None or time >= since:
                            stamp = time.strftime("%Y-%m-%dT%H:%M:%S.%f000Z ").encode() if stamped else b""
                            lines.append(stamp + line)
                    data = b"".join(lines)
                    data, left = (data, None) if left is None else (data[:left], max(0, left - len(data)))
                    await response.write(data)
                    if left == 0:
                        return
            if not follow or not running:
                return
            await asyncio.sleep(_LOOK_SECONDS)

    def _running(self, pod: Object, name: str) -> bool:
        run = self._kubelet.runs.get(key_of(pod))
        container = run.container(name) if run and run.uid == pod["metadata"]["uid"] else None
        return container is not None and container.process is not None


def _tail_offset(path: Path, lines: int) -> int:
    """Return where the last lines begin, reading from the end."""
    size = path.stat().st_size
    if lines <= 0:
        return size
    found, position = 0, size
    with path.open("rb") as file:
        while position > 0:
            step = min(_CHUNK_BYTES, position)
            position -= step
            file.seek(position)
            block = file.read(step)
            end = len(block) - (1 if position + step == size and block.endswith(b"\n") else 0)
            while (end := block.rfind(b"\n", 0, end)) >= 0:
                found += 1
                if found == lines:
                    return position + end + 1
    return 0


def _since(query: Mapping[str, str]) -> datetime | None:
    if "sinceSeconds" in query:
        return datetime.now(UTC) - timedelta(seconds=float(query["sinceSeconds"]))
    if "sinceTime" in query:
        return datetime.fromisoformat(query["sinceTime"].replace("Z", "+00:00"))
    return None


def _true(query: Mapping[str, str], name: str) -> bool:
    return query.get(name) in ("true", "True", "1")
