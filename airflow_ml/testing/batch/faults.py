"""What goes wrong with Batch on purpose, and how often."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass

from airflow_ml.testing.scripted import Scripted


@dataclass(slots=True, kw_only=True)
class ApiFault(Scripted):
    """Requests that are refused."""

    operation: str
    status: int
    code: str
    message: str
    #: Whether the request does its work, and only its answer is lost.
    done: bool = False


@dataclass(slots=True, kw_only=True)
class HostFault(Scripted):
    """Jobs whose host vanishes."""

    job: str
    after_seconds: float


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
            fault = ApiFault(
                operation=operation.lower(), status=status, code=code, message=message, times=times, skip=skip
            )
            self._api.append(fault)

    def lose_answers(self, operation: str, *, times: int = 1, skip: int = 0) -> None:
        """Let requests do their work, and answer with HTTP 504 as where a proxy has given up."""
        with self._lock:
            self._api.append(
                ApiFault(
                    operation=operation.lower(), status=504, code="GatewayTimeout", message="scripted", done=True,
                    times=times, skip=skip,
                )
            )  # fmt: skip

    def reclaim_hosts(self, job: str = "*", *, after_seconds: float = 0.3, times: int = 1) -> None:
        """Let the spot host of the next attempts vanish: ``Host EC2 (instance i-...) terminated.``

        Args:
            job: Pattern of the job's id or name; a child of an array ends with ``:INDEX``.
            after_seconds: After the attempt began to run.
            times: So many attempts; -1 for all.
        """
        with self._lock:
            self._hosts.append(HostFault(job=job, after_seconds=after_seconds, times=times))

    def refuse_images(self, image: str) -> None:
        """Let images of this pattern be missing: CannotPullContainerError."""
        with self._lock:
            self._images.append(image)

    # ---- what the double asks

    def for_request(self, operation: str) -> ApiFault | None:
        """Return the fault of one request, and count it."""
        with self._lock:
            return next(
                (one for one in self._api if fnmatch.fnmatchcase(operation, one.operation) and one.strikes()), None
            )

    def host_vanishes_after(self, job_id: str, name: str) -> float | None:
        """Return after how many seconds an attempt loses its host, and count it; None where it does not."""
        with self._lock:
            for fault in self._hosts:
                if any(fnmatch.fnmatchcase(text, fault.job) for text in (job_id, name)) and fault.strikes():
                    return fault.after_seconds
        return None

    def image_missing(self, image: str) -> bool:
        """Tell whether an image cannot be pulled."""
        with self._lock:
            return any(fnmatch.fnmatchcase(image, pattern) for pattern in self._images)
