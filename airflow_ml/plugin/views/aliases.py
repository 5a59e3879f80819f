"""Which version of a model is called champion, challenger and previous, and who says so."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from airflow_ml.core.aliases import CHALLENGER, CHAMPION, PREVIOUS, alias_in
from airflow_ml.core.registration import ModelVersion
from airflow_ml.core.rollout_state import ENDS, SERVING_ENDS
from airflow_ml.plugin.views.rollouts import Book, version_of
from airflow_ml.plugin.views.summary import RunSummary

#: Returns the versions of a model by alias, of the registry behind a connection.
Registered = Callable[[str, str | None], Mapping[str, str]]


def unasked(model: str, conn_id: str | None) -> Mapping[str, str]:
    """Ask no registry."""
    return {}


def registries_of(summaries: Sequence[RunSummary]) -> dict[str, str]:
    """Return by model the connection with which its newest version was registered."""
    rows = [row for summary in summaries for row in summary.versions if row["mlflow_conn_id"]]
    return {str(row["model"]): str(row["mlflow_conn_id"]) for row in sorted(rows, key=lambda row: str(row["at"]))}


def aliases_of(
    book: Book, records: Sequence[ModelVersion], registered: Callable[[], Mapping[str, str]]
) -> dict[str, str]:
    """Return what serves by the rollouts' records: they are the truth, the registry's aliases their projection.

    Without any rollout the registry alone knows.
    """
    found: dict[str, str] = {}
    if not book.states:
        known = registered()
        found = {alias: known[alias] for alias in (CHAMPION, CHALLENGER, PREVIOUS) if alias in known}
    ended = [state for _, state in sorted(book.states.values(), key=lambda one: one[0]) if state.state in ENDS]
    for state in ended:
        if state.state in SERVING_ENDS:
            found[CHAMPION] = version_of(state.candidate)
            found[PREVIOUS] = version_of(state.champion)
        elif version_of(state.champion):
            found[CHAMPION] = version_of(state.champion)
    live = book.newest
    if live is not None and live.live and version_of(live.champion):
        found[CHAMPION] = version_of(live.champion)
    newest = next((record for record in records if record.alias == alias_in(record.namespace, CHALLENGER)), None)
    if newest is not None and newest.version != found.get(CHAMPION):
        found.setdefault(CHALLENGER, newest.version)
    return {alias: version for alias, version in found.items() if version}
