"""How long a request to a busy or unreachable service is repeated: with growing pauses, up to a deadline."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

#: How long one request may be repeated.
DEADLINE_SECONDS = 60.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0


class Patience:
    """That of one request.

    Args:
        deadline_seconds: After which it is over; 0 for one try only.
        sleep: Waits so many seconds.
    """

    def __init__(self, deadline_seconds: float, sleep: Callable[[float], None]) -> None:
        self._over_at = time.monotonic() + deadline_seconds
        self._sleep = sleep
        self._pause_seconds = _FIRST_PAUSE_SECONDS

    def wait(self, asked_seconds: float | None = None) -> bool:
        """Wait before the next try; False, at once, where that would be too late.

        Args:
            asked_seconds: How long the service wants one to wait; None where it does not say.
        """
        pause = asked_seconds
        if pause is None:
            pause = self._pause_seconds * random.uniform(0.5, 1)  # noqa: S311 - jitter
        self._pause_seconds = min(_LONGEST_PAUSE_SECONDS, self._pause_seconds * 2)
        if time.monotonic() + pause > self._over_at:
            return False
        self._sleep(pause)
        return True
