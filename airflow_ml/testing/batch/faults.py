"""What goes wrong with Batch on purpose, and how often."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass


@dataclass(slots=True)
class ApiFault:
    """Requests that are refused."""

    operation: str
    status: int
    code: str
    message: str
    times: int
    skip: int


@dataclass(slots=True)
class HostFault:
    """Jobs whose host vanishes."""

    job: str
    after_seconds: float
    times: int


class Faults:
    """The scripted faults of a double. Patterns are shell patterns; safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Let everything go well from now on."""
        with self._lock:
            self._api: list[ApiFault] = []
            self._hosts: list[HostFault] = []
            self._images: list[str] = []

    def throttle(self, operation: str = "*", *, times: int = 1, skip: int = 0) -> None:
        """Refuse requests with TooManyRequestsException; ``times`` -1 for all, after ``skip`` that go well."""
        self.fail_requests(operation, 429, "TooManyRequestsException", "Too Many Requests", times=times, skip=skip)

    def fail_requests(
        self, operation: str, status: int, code: str, message: str = "scripted", *, times: int = 1, skip: int = 0
    ) -> None:
        """Refuse requests of an operation, such as ``SubmitJob`` or ``Describe*``."""
        with self._lock:
            self._api.append(ApiFault(operation.lower(), status, code, message, times, skip))

    def reclaim_hosts(self, job: str = "*", *, after_seconds: float = 0.3, times: int = 1) -> None:
        """Let the spot host of the next attempts vanish: ``Host EC2 (instance i-...) terminated.``

        Args:
            job: Pattern of the job's id or name; a child of an array ends with ``:INDEX``.
            after_seconds: After the attempt began to run.
            times: So many attempts; -1 for all.
        """
        with self._lock:
            self._hosts.append(HostFault(job, after_seconds, times))

    def refuse_images(self, image: str) -> None:
        """Let images of this pattern be missing: CannotPullContainerError."""
        with self._lock:
            self._images.append(image)

    # ---- what the double asks

    def for_request(self, operation: str) -> ApiFault | None:
        """Return the fault of one request, and count it."""
        with self._lock:
            for fault in self._api:
                if fault.times == 0 or not fnmatch.fnmatchcase(operation, fault.operation):
                    continue
                if fault.skip:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                return fault
        return None

    def host_vanishes_after(self, job_id: str, name: str) -> float | None:
        """Return after how many seconds an attempt loses its host, and count it; None where it does not."""
        with self._lock:
            for fault in self._hosts:
                if fault.times and any(fnmatch.fnmatchcase(text, fault.job) for text in (job_id, name)):
                    fault.times -= 1
                    return fault.after_seconds
        return None

    def image_missing(self, image: str) -> bool:
        """Tell whether an image cannot be pulled."""
        with self._lock:
            return any(fnmatch.fnmatchcase(image, pattern) for pattern in self._images)
