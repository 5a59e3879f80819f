"""A client for benchmarks of HTTP servers: keeps connections, sends the next request when the last is answered.

    echo '{"host": ..., "port": ..., "path": ..., "parts": [...], "connections": 8, "seconds": 5}' | \
        python benchmarks/http_load.py

One process, one ``select`` loop, bodies made beforehand: on a machine that server and client share, the client costs
well below 0.1 ms a request. The body is ``parts`` joined by a number that no other request has (one part: always the
same body). Prints one JSON object; with ``"answers": true`` it has each answer's start, end, status and body's digest
of interest (the text between ``pick``).
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from typing import Any


class Connection:
    """One kept connection with at most one request under way."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.began = 0.0
        self._received = bytearray()

    def send(self, request: bytes) -> None:
        """Send a request."""
        self.began = time.monotonic()
        self._received.clear()
        self.socket.sendall(request)

    def receive(self) -> tuple[int, bytes] | None:
        """Take what has come; return status and body once the answer is whole.

        Raises:
            ConnectionError: the server hung up.
        """
        chunk = self.socket.recv(1 << 18)
        if not chunk:
            raise ConnectionError("the server closed the connection")
        self._received += chunk
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return None
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        return (int(lines[0].split(b" ", 2)[1]), bytes(rest)) if len(rest) >= length else None


def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Send requests for ``seconds`` over ``connections`` connections; every answer to a request sent is awaited."""
    head = f"POST {spec['path']} HTTP/1.1\r\nHost: {spec['host']}:{spec['port']}\r\nContent-Type: application/json\r\n"
    parts = [part.encode() for part in spec["parts"]]
    pick = [mark.encode() for mark in spec.get("pick", ())]
    number = 0

    def request() -> bytes:
        nonlocal number
        number += 1
        body = f"{spec.get('prefix', '')}{number}".encode().join(parts)
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body

    loop = selectors.DefaultSelector()
    connections = [Connection(spec["host"], spec["port"]) for _ in range(spec["connections"])]
    answers: list[tuple[float, float, int, str]] = []
    lost = 0
    began = time.monotonic()
    until = began + spec["seconds"]
    for connection in connections:
        loop.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(request())
    waiting = len(connections)
    while waiting:
        ready = loop.select(timeout=30)
        if not ready:
            lost += waiting
            break
        for key, _ in ready:
            connection = key.data
            try:
                answer = connection.receive()
            except OSError:
                lost += 1
                waiting -= 1
                loop.unregister(connection.socket)
                continue
            if answer is None:
                continue
            status, body = answer
            now = time.monotonic()
            picked = body.split(pick[0], 1)[1].split(pick[1], 1)[0].decode() if pick and pick[0] in body else ""
            answers.append((connection.began, now, status, picked))
            if now < until:
                connection.send(request())
            else:
                waiting -= 1
                loop.unregister(connection.socket)
    ended = time.monotonic()
    for connection in connections:
        connection.socket.close()
    times = sorted(end - start for start, end, _, _ in answers)
    statuses: dict[str, int] = {}
    for _, _, status, _ in answers:
        statuses[str(status)] = statuses.get(str(status), 0) + 1
    figures: dict[str, Any] = {
        "requests": len(answers),
        "lost": lost,
        "statuses": statuses,
        "requests_per_second": round(len(answers) / (ended - began), 1),
        "p50_ms": round(times[len(times) // 2] * 1000, 2) if times else None,
        "p99_ms": round(times[int(len(times) * 0.99)] * 1000, 2) if times else None,
        "max_ms": round(times[-1] * 1000, 2) if times else None,
        "client_cpu_seconds": round(time.process_time(), 2),
    }
    return {**figures, "answers": answers} if spec.get("answers") else figures


if __name__ == "__main__":
    print(json.dumps(run(json.load(sys.stdin))))
