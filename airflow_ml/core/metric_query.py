"""Where a rollout's metric is read in a warehouse: the outcomes, the watermark, the exposures, as SQL of the user."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from airflow_ml.core.exposures import EXPOSURES_TABLE, SHADOW_TABLE
from airflow_ml.core.record import Record
from airflow_ml.core.sql import ident, require_select
from airflow_ml.errors import ConfigurationError


@dataclass(frozen=True, slots=True, kw_only=True)
class SqlOutcomes(Record):
    """The effect of a variant as SQL: exposures joined with outcomes, summed in the warehouse.

    All SQL is the user's own and trusted; values of a rollout are bound, as ``%(model)s`` (the served name) and
    ``%(epoch)s``.
    """

    #: A SELECT with the columns ``key`` and ``label``, at most one row a key. A null label says that there never will
    #: be one; a key that is absent still waits.
    outcomes: str
    #: A SELECT of one value: the data time up to which outcomes are complete, null where there is none yet.
    watermark: str
    #: Table or SELECT of ``model, epoch, key, unit, data_day (YYYY-MM-DD, UTC), step, assigned, score``.
    exposures: str = EXPOSURES_TABLE
    #: Further metrics by name, each an expression over ``score`` and ``label`` per request.
    metrics: Mapping[str, str] = field(default_factory=dict)
    #: Slices by name, each an expression over the columns of the exposures, for guardrails by slice.
    slices: Mapping[str, str] = field(default_factory=dict)
    #: A SELECT of ``unit`` and ``value``, known before the rollout; empty: no adjustment.
    covariate: str = ""
    #: Table or SELECT of ``model, epoch, key, arm, score``: what challengers said in shadow. Read only where a plan has
    #: such a step.
    shadow: str = SHADOW_TABLE

    def checked(self) -> SqlOutcomes:
        """Return itself.

        Raises:
            ConfigurationError: a part is not a SELECT, or the exposures are neither a table nor a SELECT.
        """
        for text in (self.outcomes, self.watermark, *([self.covariate] if self.covariate else [])):
            require_select(text)
        for table in (self.exposures, self.shadow):
            if not _is_select(table):
                ident(table)
        for name, expression in {**self.metrics, **self.slices}.items():
            if not name or " by " in name or not expression.strip() or ";" in expression:
                raise ConfigurationError("Not an expression of SQL", f"{name}: {expression}"[:200], "Write one value.")
        return self

    @property
    def exposures_sql(self) -> str:
        """The exposures as something to select from."""
        return f"(\n{_body(self.exposures)}\n)" if _is_select(self.exposures) else ident(self.exposures)

    @property
    def shadow_sql(self) -> str:
        """The scores in shadow as something to select from."""
        return f"(\n{_body(self.shadow)}\n)" if _is_select(self.shadow) else ident(self.shadow)

    @property
    def outcomes_sql(self) -> str:
        """The outcomes as something to select from."""
        return f"(\n{_body(self.outcomes)}\n)"

    @property
    def covariate_sql(self) -> str:
        """The covariate as something to select from."""
        return f"(\n{_body(self.covariate)}\n)"


def _is_select(text: str) -> bool:
    try:
        require_select(text)
    except ConfigurationError:
        return False
    return True


def _body(text: str) -> str:
    return text.strip().rstrip(";")
