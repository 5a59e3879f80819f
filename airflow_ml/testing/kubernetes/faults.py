"""What goes wrong on purpose, and how often."""

from __future__ import annotations

import fnmatch
import threading
from dataclasses import dataclass

from airflow_ml.testing.kubernetes.resources import ApiError, Object
from airflow_ml.testing.scripted import Scripted

_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}
DISRUPTIONS = ("evict", "evict_without_statuses", "evict_by_api", "preempt", "node_lost", "oom", "kill")
#: The status by which a request's connection is cut instead of answered.
CUT = 0


@dataclass(slots=True, kw_only=True)
class RequestFault(Scripted):
    """Requests that are answered with an error."""

    status: int
    verb: str
    resource: str
    name: str
    message: str
    retry_after_seconds: float | None
    delay_seconds: float


@dataclass(slots=True, kw_only=True)
class WatchFault(Scripted):
    """Watches that break."""

    how: str
    resource: str
    after_events: int


@dataclass(slots=True, kw_only=True)
class PodFault(Scripted):
    """Pods that something befalls."""

    what: str
    name: str
    after_seconds: float


class Faults:
    """The scripted faults of a double. Patterns are shell patterns; safe to call from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.clear()

    def clear(self) -> None:
        """Let everything go well from now on."""
        with self._lock:
            self._requests: list[RequestFault] = []
            self._watches: list[WatchFault] = []
            self._pods: list[PodFault] = []
            self._images: dict[str, str] = {}

    def fail_requests(
        self,
        status: int,
        *,
        verb: str = "*",
        resource: str = "*",
        name: str = "*",
        times: int = 1,
        skip: int = 0,
        message: str = "scripted",
        retry_after_seconds: float | None = None,
        delay_seconds: float = 0.0,
    ) -> None:
        """Answer requests with an error.

        Args:
            status: HTTP status; 0 cuts the connection; 200 only delays.
            verb: get, list, watch, create, update, patch, delete or deletecollection.
            resource: ``pods``, ``jobs``, ``pods/log``, ...
            name: The object's name; ``*`` also matches requests without one.
            times: So many requests; -1 for all.
            skip: So many matching ones go well before.
            message: The Status object's.
            retry_after_seconds: Sent as the header Retry-After.
            delay_seconds: Waited before the answer.
        """
        fault = RequestFault(
            status=status,
            verb=verb,
            resource=resource,
            name=name,
            times=times,
            skip=skip,
            message=message,
            retry_after_seconds=retry_after_seconds,
            delay_seconds=delay_seconds,
        )
        with self._lock:
            self._requests.append(fault)

    def break_watches(self, how: str, *, resource: str = "*", after_events: int = 0, times: int = 1) -> None:
        """Break watches.

        Args:
            how: ``cut`` ends the connection in the middle; ``silent`` keeps it open and says nothing more; ``gone``
                sends an ERROR event with code 410.
            resource: Of watches on this resource.
            after_events: So many events arrive before.
            times: So many watches; -1 for all.
        """
        if how not in ("cut", "silent", "gone"):
            raise ValueError(f"A watch breaks by being cut, silent or gone, not {how!r}.")
        with self._lock:
            self._watches.append(WatchFault(how=how, resource=resource, after_events=after_events, times=times))

    def disrupt_pods(self, what: str, *, name: str = "*", times: int = 1, after_seconds: float = 0.3) -> None:
        """Let something befall the next pods that are bound to a node.

        Args:
            what: ``evict`` (node pressure), ``evict_without_statuses`` (and no word of its containers),
                ``evict_by_api``, ``preempt``, ``node_lost``, ``oom`` or ``kill`` (SIGKILL, for no known reason).
            name: The pod's name.
            times: So many pods; -1 for all.
            after_seconds: After the pod was bound.
        """
        if what not in DISRUPTIONS:
            raise ValueError(f"Pods are disrupted by {', '.join(DISRUPTIONS)}, not {what!r}.")
        with self._lock:
            self._pods.append(PodFault(what=what, name=name, after_seconds=after_seconds, times=times))

    def refuse_images(self, image: str, *, reason: str = "ImagePullBackOff") -> None:
        """Let no node have images of this pattern; reason ImagePullBackOff, ErrImagePull or InvalidImageName."""
        with self._lock:
            self._images[image] = reason

    # ---- what the double asks

    def for_request(self, verb: str, resource: str, name: str) -> RequestFault | None:
        """Return the fault of one request, and count it."""
        with self._lock:
            for fault in self._requests:
                asked = ((fault.verb, verb), (fault.resource, resource), (fault.name, name))
                if all(_matches(pattern, text) for pattern, text in asked) and fault.strikes():
                    return fault
        return None

    def for_watch(self, resource: str) -> WatchFault | None:
        """Return the fault of one watch, and count it."""
        with self._lock:
            return next((one for one in self._watches if _matches(one.resource, resource) and one.strikes()), None)

    def disruptions_of(self, pod: Object) -> list[PodFault]:
        """Return what befalls a pod, and count it."""
        with self._lock:
            return [one for one in self._pods if _matches(one.name, pod["metadata"]["name"]) and one.strikes()]

    def image_refusal(self, image: str) -> str | None:
        """Return why a node cannot have an image; None where it can."""
        with self._lock:
            return next((reason for pattern, reason in self._images.items() if _matches(pattern, image)), None)


def error_of(fault: RequestFault) -> ApiError:
    """Return the answer of a fault."""
    reason = _REASONS.get(fault.status, "Unknown")
    return ApiError(fault.status, reason, fault.message, retry_after_seconds=fault.retry_after_seconds)


def _matches(pattern: str, text: str) -> bool:
    return pattern == "*" or fnmatch.fnmatchcase(text, pattern)
