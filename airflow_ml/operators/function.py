"""The functions that build an operator and return its output have the operator's own arguments."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, ParamSpec

P = ParamSpec("P")


def with_arguments_of(operator: Callable[P, Any]) -> Callable[[Callable[..., Any]], Callable[P, Any]]:
    """Give a function the signature of an operator, for type checkers, editors and ``help()``.

    The first parameter of the operator's ``__init__`` stands before its ``*``: the function takes it by position, while
    Airflow lets no operator be made so.
    """

    def give(function: Callable[..., Any]) -> Callable[P, Any]:
        own = inspect.signature(operator)
        function.__signature__ = own.replace(return_annotation=Any)  # type: ignore[attr-defined]
        return function

    return give
