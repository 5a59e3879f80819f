"""Faults that a test scripts: each strikes so many times, after so many that go well."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True, kw_only=True)
class Scripted:
    """Base of a double's faults."""

    #: How often it strikes; -1 for ever.
    times: int = 1
    #: So many times it lets pass before.
    skip: int = 0

    def strikes(self) -> bool:
        """Tell whether it strikes now, and count it. Asked for what it matches only, one thread at a time."""
        if self.times == 0:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True
