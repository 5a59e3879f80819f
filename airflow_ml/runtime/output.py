"""User code's output on its way to the log: whole lines, each and all of them limited."""

from __future__ import annotations

from collections.abc import Callable

#: A longer line is cut: Airflow's log and its UI are made for lines of text.
LINE_BYTES = 4 * 1024


class LineLog:
    """Turns chunks of bytes into lines for a log.

    Args:
        log: Called with each line, without its end.
        limit_bytes: After so much, the rest is counted and left out.
        prefix: Put before each line.
    """

    def __init__(self, log: Callable[[str], None], *, limit_bytes: int, prefix: str = "") -> None:
        self._log = log
        self._limit = limit_bytes
        self._prefix = prefix
        self._partial = b""
        self._cut = False
        self._written = 0
        self._dropped = 0

    def feed(self, chunk: bytes) -> None:
        """Take a chunk; lines that it ends are logged."""
        if self._written >= self._limit:
            self._dropped += len(chunk)
            return
        *lines, rest = (self._partial + chunk).split(b"\n")
        for index, line in enumerate(lines):
            if self._written >= self._limit:
                self._dropped += sum(len(item) + 1 for item in lines[index:]) + len(rest)
                self._partial = b""
                return
            if not self._cut:
                self._write_line(line)
            self._cut = False
        self._partial = rest
        if len(rest) > LINE_BYTES:  # tell the beginning now, and forget the rest of the line as it comes
            if not self._cut:
                self._write_line(rest)
            else:
                self._dropped += len(rest)
            self._cut, self._partial = True, b""

    def end(self) -> None:
        """Log what is left, and how much was left out."""
        if self._partial and not self._cut:
            self._write_line(self._partial)
        if self._dropped:
            self._log(f"{self._prefix}... {self._dropped} bytes of output left out")
        self._partial, self._cut, self._dropped = b"", False, 0

    def _write_line(self, line: bytes) -> None:
        if len(line) > LINE_BYTES:
            self._dropped += len(line) - LINE_BYTES
            line = line[:LINE_BYTES] + b" ..."
        self._written += len(line) + 1
        text = line.decode("utf-8", "replace").rstrip("\r").replace("\x00", "\\0")
        self._log(self._prefix + text.replace("\r", "\\r"))
