"""The arguments of a `@task.ml` function: what Airflow rendered, bound to names, and in wire form."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.context import KNOWN_CONTEXT_KEYS
from airflow.sdk.execution_time.lazy_sequence import LazyXComSequence

from airflow_ml.core.record import Record

if TYPE_CHECKING:
    from airflow.sdk import Context


def without_objects(value: Any) -> Any:
    """Return an argument with each of our records in wire form; everything else stays, XComArgs among it."""
    if isinstance(value, Record):
        return value.to_dict()
    if type(value) is dict:
        return {name: without_objects(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(without_objects(item) for item in value)
    return value


def bind_arguments(
    function: Callable[..., Any], args: Collection[Any], kwargs: Mapping[str, Any], context: Context
) -> dict[str, Any]:
    """Return rendered arguments by parameter name, with those of Airflow's context that the function asks for.

    The outputs of a mapped task are read here, as a list.
    """
    signature = inspect.signature(function)
    given = signature.bind_partial(*map(with_lists, args), **{name: with_lists(item) for name, item in kwargs.items()})
    asked = [
        name
        for name in signature.parameters
        if name in KNOWN_CONTEXT_KEYS and name not in given.arguments and name in context
    ]
    named: dict[str, Any] = {**given.arguments, **{name: context[name] for name in asked}}  # type: ignore[literal-required]
    bound = inspect.BoundArguments(signature, {name: named[name] for name in signature.parameters if name in named})
    return dict(signature.bind(*bound.args, **bound.kwargs).arguments)


def with_lists(value: Any) -> Any:
    """Return a rendered argument with the lazy outputs of mapped tasks read into lists, at any depth."""
    if isinstance(value, LazyXComSequence):
        return [with_lists(item) for item in value]
    if type(value) is dict:
        return {name: with_lists(item) for name, item in value.items()}
    if type(value) in (list, tuple):
        return type(value)(with_lists(item) for item in value)
    return value
