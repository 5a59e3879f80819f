"""Three ways of not being there: absent, unreadable and failed are different answers, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from airflow_ml.errors import AirflowMLError, ArtifactCorrupt, ArtifactNotFound, RecordError

PRESENT, ABSENT, UNREADABLE, FAILED = "present", "absent", "unreadable", "failed"


class NotHere(LookupError):
    """What was asked for is not in the records, or not for this user: both have the same answer."""


def part(read: Callable[[], Any], *, absent: str) -> dict[str, Any]:
    """Return a part of a page.

    Args:
        read: Returns its value; None where the records say that there is none.
        absent: What to say then.
    """
    try:
        value = read()
    except (ArtifactNotFound, ArtifactCorrupt, RecordError) as error:
        return {"state": UNREADABLE, "reason": f"{error.what}. {error.remedy}".strip()}
    except (AirflowMLError, OSError) as error:
        return {"state": FAILED, "reason": f"{type(error).__name__}: {error}"[:300]}
    if value is None:
        return {"state": ABSENT, "reason": absent}
    return {"state": PRESENT, "value": value}
