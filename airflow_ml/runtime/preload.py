"""Import a function's libraries once, before workers are forked that all need them."""

from __future__ import annotations

import importlib
from collections.abc import Callable

from airflow_ml.core.call import FunctionRef
from airflow_ml.core.ports import ArtifactStore
from airflow_ml.runtime.load import imported_names

#: What `Data` needs.
_OURS = ("pandas", "pyarrow.dataset", "airflow_ml.runtime.data")


def preload(function: FunctionRef, store: ArtifactStore, *, log: Callable[[str], None]) -> None:
    """Import what the function's source imports anywhere; what fails is told, and fails again where it is used.

    Installed libraries only: the project's own modules, which may do anything when they are imported, are imported in
    each worker. Libraries that must not be imported before a fork are imported by name where they are needed:
    ``importlib.import_module("...")`` is not looked for.
    """
    for name in (*_OURS, *imported_names(function, store)):
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            # `from a import b` may name an object as well as a module.
            if error.name != name:
                log(f"Importing {name}: {error}")
        except (Exception, SystemExit) as error:  # a library that ends the process, or wants its own command line
            log(f"Importing {name}: {type(error).__name__}: {error}")
