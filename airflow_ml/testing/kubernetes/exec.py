"""Commands in a running container, over the WebSocket that the clients speak."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal

from aiohttp import WSMsgType, web

from airflow_ml.testing.kubernetes.containers import Program
from airflow_ml.testing.kubernetes.pod_status import ContainerRun
from airflow_ml.testing.kubernetes.pods import Kubelet, PodRun
from airflow_ml.testing.kubernetes.resources import ApiError, Object, key_of
from airflow_ml.testing.processes.launch import Ended
from airflow_ml.testing.processes.paths import Paths

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_STDIN, _STDOUT, _STDERR, _ERROR = 0, 1, 2, 3
#: There is no process namespace: a kill by number or name would reach processes of this machine.
_KILL = re.compile(r"\b(kill|pkill|killall|pgrep|skill|fuser)\b")
_SIGNAL = re.compile(r"\b(?:p?kill|killall)\s+-(?:s\s+)?(?:SIG)?(\w+)")


class Exec:
    """Runs commands beside a container's process. One that would kill signals that process, and no other."""

    def __init__(self, kubelet: Kubelet) -> None:
        self._kubelet = kubelet

    async def serve(self, request: web.Request, pod: Object) -> web.StreamResponse:
        """Answer pods/NAME/exec.

        Raises:
            ApiError: 400, not a WebSocket, or the container does not run.
        """
        run = self._kubelet.runs.get(key_of(pod))
        name = request.query.get("container") or pod["spec"]["containers"][0]["name"]
        one = run.container(name) if run and run.uid == pod["metadata"]["uid"] else None
        if run is None or one is None or one.process is None:
            raise ApiError(400, "BadRequest", f"cannot exec in a stopped container: {name}")
        if request.headers.get("Upgrade", "").lower() != "websocket":
            raise ApiError(400, "BadRequest", "Upgrade request required: the double speaks WebSocket only")
        socket = web.WebSocketResponse(protocols=_PROTOCOLS)
        await socket.prepare(request)
        command = request.query.getall("command", [])
        if _KILL.search(" ".join(command)):
            self._signal(one, " ".join(command))
            command = ["true"]
        await self._run(socket, run, one, command)
        return socket

    async def _run(self, socket: web.WebSocketResponse, run: PodRun, one: ContainerRun, command: list[str]) -> None:
        program: Program = self._kubelet.program(run, one)
        paths = self._kubelet.paths(run, one)
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Ended] = loop.create_future()
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
        name = self._kubelet.processes.start(
            [paths.rewrite(word) for word in command],
            env=program.env,
            cwd=program.cwd,
            streams=theirs,
            on_end=lambda how: None if ended.done() else ended.set_result(how),
        )
        for descriptor in theirs:
            os.close(descriptor)
        feed = loop.create_task(self._feed(socket, one, ours[0], paths))
        pumps = [
            loop.create_task(_pump(socket, channel, ours[number])) for number, channel in ((1, _STDOUT), (2, _STDERR))
        ]
        feed.add_done_callback(lambda task: self._kubelet.processes.kill(name) if socket.closed else None)
        try:
            await asyncio.gather(*pumps)
            how = await ended
            if not socket.closed:
                with contextlib.suppress(ConnectionResetError):
                    await socket.send_bytes(bytes([_ERROR]) + json.dumps(_status(how)).encode())
        finally:
            self._kubelet.processes.kill(name)
            feed.cancel()
            await socket.close()

    async def _feed(self, socket: web.WebSocketResponse, one: ContainerRun, descriptor: int, paths: Paths) -> None:
        """Pass stdin on line by line, except for lines that would kill: those signal the container's own process.

        A terminal sends letter by letter: what a shell is given is a whole line, looked at as a whole.
        """
        loop = asyncio.get_running_loop()
        transport, protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, os.fdopen(descriptor, "wb", buffering=0)
        )
        writer = asyncio.StreamWriter(transport, protocol, None, loop)
        rest = ""
        try:
            async for message in socket:
                if message.type not in (WSMsgType.BINARY, WSMsgType.TEXT):
                    continue
                data = message.data if isinstance(message.data, bytes) else message.data.encode()
                if data[:2] == b"\xff\x00":  # v5: stdin is closed
                    break
                if data[:1] == bytes([_STDIN]):
                    *lines, rest = (rest + data[1:].decode(errors="replace")).splitlines(keepends=True) or [""]
                    if rest.endswith("\n"):
                        lines, rest = [*lines, rest], ""
                    for line in lines:
                        writer.write(self._harmless(one, line, paths))
                    await writer.drain()
            writer.write(self._harmless(one, rest, paths))
            await writer.drain()
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            transport.close()

    def _harmless(self, one: ContainerRun, line: str, paths: Paths) -> bytes:
        """Return a line as the shell may have it; one that would kill has its signal sent, and ends the shell."""
        if _KILL.search(line):
            self._signal(one, line)
            line = "exit 0\n"
        return paths.rewrite(line).encode()

    def _signal(self, one: ContainerRun, command: str) -> None:
        if one.process is None:
            return
        found = _SIGNAL.search(command)
        number: int = signal.SIGTERM
        if found:
            word = found[1].upper()
            number = int(word) if word.isdigit() else getattr(signal, f"SIG{word}", signal.SIGTERM)
        self._kubelet.processes.signal(one.process, number)


async def _pump(socket: web.WebSocketResponse, channel: int, descriptor: int) -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(descriptor, "rb", buffering=0)
    )
    try:
        while data := await reader.read(1 << 16):
            if not socket.closed:
                with contextlib.suppress(ConnectionResetError):
                    await socket.send_bytes(bytes([channel]) + data)
    finally:
        transport.close()


def _status(how: Ended) -> Object:
    if how.code == 0:
        return {"metadata": {}, "status": "Success"}
    causes = [{"reason": "ExitCode", "message": str(how.exit_code)}]
    text = how.error or f"command terminated with non-zero exit code: {how.exit_code}"
    return {
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": "NonZeroExitCode",
        "details": {"causes": causes},
    }
