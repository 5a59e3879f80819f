"""One call under Python's debugger: ``python -m airflow_ml.runtime.debug <job file>``, with the terminal as it is.

The job file is ``{"store", "call", "stop"}``: with ``stop`` the debugger waits at the function's first line, otherwise
where it raises.
"""

from __future__ import annotations

import bdb
import json
import os
import pdb
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from airflow_ml.core.call import Call
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.runtime.bundle import is_installed
from airflow_ml.runtime.context import CallContext, running
from airflow_ml.runtime.load import load_function
from airflow_ml.runtime.values import call_with, open_arguments, parse_argument
from airflow_ml.runtime.worker import last_frames, seed_everything


def main(arguments: list[str]) -> int:
    """Run the call; 0 where the function returned, 1 where it raised."""
    from airflow_ml.adapters.object_store import open_store

    job: Mapping[str, Any] = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    call, store = Call.from_dict(job["call"]), open_store(str(job["store"]))
    with running(CallContext(store=store, call=call, log=print)):
        function, given = target_of(call, store)
        seed_everything(call.seed)
        try:
            returned = pdb.Pdb().runcall(call_with, function, given) if job["stop"] else call_with(function, given)
        except bdb.BdbQuit:
            return 0
        except BaseException as error:
            print(last_frames(error, limit_bytes=1 << 20), file=sys.stderr, flush=True)  # noqa: T201 - a person sits at the terminal
            pdb.post_mortem(_users_part(error))
            return 1
    print(f"returned: {returned!r}"[:2000])  # noqa: T201 - a person sits at the terminal
    return 0


def target_of(call: Call, store: ArtifactStore) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return the user's function and its arguments; of a trial the training function with its data."""
    if call.function.qualname == "repeat_trial":
        from airflow_ml.runtime.repeat_trial import trial_target

        given = {name: parse_argument(value, store) for name, value in call.arguments.items()}
        return trial_target(given["plan"], given["trial"], store)
    function = load_function(call.function, store)
    return function, open_arguments(function, call.arguments, store, trusted=call.trusted)


def _users_part(error: BaseException) -> TracebackType | None:
    """Return the traceback down to the user's own deepest line: there the debugger begins, and not in a library."""
    frames: list[TracebackType] = []
    trace = error.__traceback__
    while trace is not None:
        frames.append(trace)
        trace = trace.tb_next
    own = [number for number, one in enumerate(frames) if _is_users(one.tb_frame.f_code.co_filename)]
    if not own:
        return error.__traceback__
    made: TracebackType | None = None
    for one in reversed(frames[own[0] : own[-1] + 1]):
        made = TracebackType(made, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return made


def _is_users(file: str) -> bool:
    ours = file.startswith(os.path.dirname(os.path.abspath(__file__)))
    return not ours and not {"site-packages", "dist-packages"} & {*Path(file).parts} and not is_installed(Path(file))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
