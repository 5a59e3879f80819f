"""Stage 7, canary: how looks are classified, and how many of each kind a plan tolerates.

The four outcomes and their limits are those of Argo Rollouts (docs/features/analysis.md): what fails too often fails
whatever else was seen, a metric out of reach is not a failure, and what is neither success nor failure never passes.
"""

from __future__ import annotations

from dataclasses import dataclass

PASS, FAIL, NEITHER, ERROR = "pass", "fail", "inconclusive", "error"

#: A limit that is never reached.
NO_LIMIT = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How many looks of a kind are tolerated. Looks without new outcomes count as errors only."""

    #: Looks that show harm before it counts; 0: the first one does.
    failures: int = 0
    #: Looks in a row that must show success before it counts.
    successes_in_a_row: int = 1
    #: Looks that show neither; -1: time alone bounds them.
    inconclusive: int = NO_LIMIT
    #: Looks in a row at which the metric could not be read; -1: time alone bounds them.
    errors_in_a_row: int = NO_LIMIT


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How the looks of a rollout came out so far."""

    failures: int = 0
    successes_in_a_row: int = 0
    inconclusive: int = 0
    errors_in_a_row: int = 0


def counted(tally: Tally, phase: str, *, new: bool = True) -> Tally:
    """Return the tally after one more look.

    Args:
        tally: Before it.
        phase: ``pass``, ``fail``, ``inconclusive`` or ``error``.
        new: Whether there were outcomes that the look before did not have. Looking twice at the same is one look;
            only an error counts each time.

    Raises:
        ValueError: for another phase.
    """
    if phase not in (PASS, FAIL, NEITHER, ERROR):
        raise ValueError(f"No phase of a look: {phase!r}")
    if phase == ERROR:
        return Tally(
            failures=tally.failures,
            successes_in_a_row=0,
            inconclusive=tally.inconclusive,
            errors_in_a_row=tally.errors_in_a_row + 1,
        )
    step = 1 if new else 0
    in_a_row = (tally.successes_in_a_row + step or 1) if phase == PASS else 0
    return Tally(
        failures=tally.failures + (step if phase == FAIL else 0),
        successes_in_a_row=in_a_row,
        inconclusive=tally.inconclusive + (step if phase == NEITHER else 0),
        errors_in_a_row=0,
    )


def assess(tally: Tally, limits: Limits) -> str | None:
    """Return what the looks amount to: ``fail``, ``error``, ``pass`` or ``inconclusive``; None while undecided.

    Failure beats all; then errors, success, and indecision.
    """
    if tally.failures > limits.failures:
        return FAIL
    if limits.errors_in_a_row != NO_LIMIT and tally.errors_in_a_row > limits.errors_in_a_row:
        return ERROR
    if tally.successes_in_a_row >= max(limits.successes_in_a_row, 1):
        return PASS
    if limits.inconclusive != NO_LIMIT and tally.inconclusive > limits.inconclusive:
        return NEITHER
    return None


#: Before the first look.
NOTHING_YET = Tally()
