"""A feature view as SQL: one SELECT, for DuckDB or Snowflake.

Point in time: each ``AsOf`` is an ASOF join on ``time + delay``. Each ``Rolling`` is the difference of two running
totals, found by two ASOF joins at ``predict_at`` and ``predict_at - window`` (prefix sums: Blelloch 1990, "Prefix
sums and their applications"), so its cost grows with n log n and not with the rows in a window, however skewed the
keys are. The totals are exact decimals (12 places), so a difference loses nothing and no order of rows or threads
changes a digit.

Nothing here reads data: the text depends on the view, the moment and the names of the relations only.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime

from airflow_ml.core.feature_dialect import Dialect, dialect_of
from airflow_ml.core.feature_inputs import PREDICT_AT, AsOf, Lookup, Rolling
from airflow_ml.core.feature_names import microseconds
from airflow_ml.core.feature_view import SPLIT, FeatureView
from airflow_ml.core.features import TEST, TRAIN, VALIDATE
from airflow_ml.core.split_sql import aware, split_case
from airflow_ml.core.time_split import SERVE, TimeSplit
from airflow_ml.errors import TableMissing

_AT, _TIME, _KNOWN, _ROWS = "__at", "__time", "__known", "__rows"


def feature_sql(
    view: FeatureView,
    *,
    spine: str,
    sources: Mapping[str, str],
    dialect: str,
    as_of: datetime,
    split: TimeSplit | None,
    spine_columns: Collection[str] | None = None,
    time_travel: bool = False,
) -> str:
    """Return the SELECT of key, predict_at, label, split, carried columns and features, in that order, unsorted.

    Args:
        view: The view.
        spine: Name of the spine's relation.
        sources: Name of the relation of each of ``view.sources``.
        dialect: ``duckdb`` or ``snowflake``.
        as_of: Aware. What became known after it does not exist, whatever ``predict_at`` a row has.
        split: None to serve: every row is kept, its split is ``serve``, and no label is needed.
        spine_columns: The columns that the spine has; only for serving, where an absent one is null. None means all.
        time_travel: Snowflake only: mark each source with ``{at}``, which `SnapshotSource.read` turns into Time Travel.

    Raises:
        TableMissing: a source of the view has no relation.
        ConfigurationError: unknown dialect, or ``as_of`` without a zone.
    """
    missing = [table for table in view.sources if table not in sources]
    if missing:
        raise TableMissing(f"The view {view.name} needs a source that was not given", missing[0], "Add it to sources.")
    writer = _Writer(view, dialect_of(dialect), aware(as_of), split, spine_columns, time_travel)
    return writer.features(spine, sources)


class _Writer:
    """Writes the statements of one view."""

    def __init__(
        self,
        view: FeatureView,
        dialect: Dialect,
        as_of: datetime,
        split: TimeSplit | None,
        spine_columns: Collection[str] | None,
        time_travel: bool,
    ) -> None:
        self.view, self.dialect, self.as_of, self.split = view, dialect, as_of, split
        self.present = spine_columns if split is None else None
        self.time_travel = time_travel
        self.at = dialect.moment(self.column(view.predict_at))

    def column(self, name: str) -> str:
        """A column of the relation that a SELECT reads: qualified, so that no alias can be meant."""
        return f"{self.dialect.quote('t')}.{self.dialect.quote(name)}"

    def relation(self, table: str, *, history: bool) -> str:
        return f"{self.dialect.relation(table, history=history)} AS {self.dialect.quote('t')}"

    def source(self, table: str, sources: Mapping[str, str]) -> str:
        return self.relation(sources[table], history=self.time_travel)

    def features(self, spine: str, sources: Mapping[str, str]) -> str:
        q, view = self.dialect.quote, self.view
        parts = [(q("__spine"), self.spine_rows(spine))]
        joins: list[str] = []
        selected: dict[str, str] = {item.name: f"{q('s')}.{q(item.name)}" for item in view.inputs}
        totals: dict[tuple[str, tuple[str, ...], str], str] = {}
        for number, join in enumerate(view.joins):
            if isinstance(join, Rolling):
                continue
            alias = f"j{number}"
            rows = self.as_of_rows(join, sources) if isinstance(join, AsOf) else self.lookup_rows(join, sources)
            parts.append((q(f"__{alias}"), rows))
            joins.append(self.join_row(join, alias))
            selected |= {name: self.value_of(join, alias, column) for name, column in join.features}
        for group in self.rolling_groups():
            alias = f"r{len(totals)}"
            totals[group] = alias
            parts.append((q(f"__{alias}"), self.running_totals(group, sources)))
            joins.append(self.join_total(group[1], alias, f"{alias}_now", q(_AT)))
            for micros in self.windows(group):
                joins.append(self.join_total(group[1], alias, f"{alias}_{micros}", q(_back(micros))))
        for join in view.joins:
            if isinstance(join, Rolling):
                selected[join.name] = self.figure(join, totals[_group(join)])
        kept = [f"{q('s')}.{q(name)}" for name in (view.key, view.predict_at, view.label.name, SPLIT, *view.carry)]
        columns = [*kept, *(f"{selected[name]} AS {q(name)}" for name in view.features)]
        text = ",\n".join(f"{name} AS (\n{_indent(rows)}\n)" for name, rows in parts)
        body = ",\n  ".join(columns)
        tail = "".join(f"\n{join}" for join in joins)
        only = "" if self.split is None else f"\nWHERE {q('s')}.{q(SPLIT)} IN ('{TRAIN}', '{VALIDATE}', '{TEST}')"
        return f"WITH {text}\nSELECT\n  {body}\nFROM {q('__spine')} AS {q('s')}{tail}{only}"

    def spine_rows(self, spine: str) -> str:
        q, view = self.dialect.quote, self.view
        at = self.at
        columns = {
            view.key: self.column(view.key),
            view.predict_at: at,
            _AT: at,
            view.label.name: self.label(),
            SPLIT: f"'{SERVE}'" if self.split is None else split_case(view, self.dialect, self.split, self.as_of),
            **{name: self.kept(name) for name in view.carry},
            **{item.name: self.input_value(item.name) for item in view.inputs},
            **{f"__by_{name}": self.input_value(name) for name in view.by_columns},
        }
        for group in self.rolling_groups():
            columns |= {_back(micros): self.dialect.shift(at, -micros) for micros in self.windows(group)}
        lines = ",\n  ".join(f"{text} AS {q(name)}" for name, text in columns.items())
        return f"SELECT\n  {lines}\nFROM {self.relation(spine, history=False)}"

    def kept(self, name: str) -> str:
        absent = self.present is not None and name not in self.present
        return "NULL" if absent else self.column(name)

    def label(self) -> str:
        """A served row's label is shown only as far as it is known by ``as_of``."""
        label = self.view.label
        value = self.column(label.name)
        if self.split is not None:
            return value
        if self.present is not None and not {label.name, label.known_at} <= set(self.present):
            return "NULL"
        known = self.dialect.moment(self.column(label.known_at))
        return f"CASE WHEN {known} <= {self.dialect.literal(self.as_of)} THEN {value} END"

    def input_value(self, name: str) -> str:
        """A training build has proved that inputs are known; a served value that is known too late is withheld."""
        known_at = next((item.known_at for item in self.view.inputs if item.name == name), PREDICT_AT)
        value = self.kept(name)
        if self.split is not None or known_at == PREDICT_AT or value == "NULL" or self.kept(known_at) == "NULL":
            return value
        return f"CASE WHEN {self.dialect.moment(self.column(known_at))} <= {self.at} THEN {value} END"

    def as_of_rows(self, join: AsOf, sources: Mapping[str, str]) -> str:
        q, d = self.dialect.quote, self.dialect
        time = d.moment(self.column(join.time))
        known = d.shift(time, microseconds(join.delay))
        newest = self.first_row([*map(self.column, join.by), time], join.columns)
        columns = [
            *(f"{self.column(name)} AS {q(f'__by_{name}')}" for name in join.by),
            f"{time} AS {q(_TIME)}",
            f"{known} AS {q(_KNOWN)}",
            *(f"{self.column(name)} AS {q(f'__value_{name}')}" for name in join.columns),
        ]
        body = ",\n  ".join(columns)
        where = f"WHERE {known} <= {d.literal(self.as_of)}"
        return f"SELECT\n  {body}\nFROM {self.source(join.table, sources)}\n{where}\n{newest}"

    def lookup_rows(self, join: Lookup, sources: Mapping[str, str]) -> str:
        q = self.dialect.quote
        columns = [
            *(f"{self.column(name)} AS {q(f'__by_{name}')}" for name in join.by),
            *(f"{self.column(name)} AS {q(f'__value_{name}')}" for name in join.columns),
        ]
        body = ",\n  ".join(columns)
        only = self.first_row([self.column(name) for name in join.by], join.columns)
        return f"SELECT\n  {body}\nFROM {self.source(join.table, sources)}\n{only}"

    def first_row(self, keys: list[str], columns: tuple[str, ...]) -> str:
        """Keep one row per key, the same one every time, so that a join never multiplies rows."""
        order = ", ".join(f"{self.column(name)} DESC NULLS LAST" for name in columns)
        return f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {', '.join(keys)} ORDER BY {order}) = 1"

    def join_row(self, join: AsOf | Lookup, alias: str) -> str:
        q = self.dialect.quote
        on = self.equal(join.by, alias)
        if isinstance(join, AsOf):
            left, right = f"{q('s')}.{q(_AT)}", f"{q(alias)}.{q(_KNOWN)}"
            return self.dialect.asof_join(q(f"__{alias}"), q(alias), left, right, on)
        return f"LEFT JOIN {q(f'__{alias}')} AS {q(alias)}\n  ON " + " AND ".join(f"{a} = {b}" for a, b in on)

    def value_of(self, join: AsOf | Lookup, alias: str, column: str) -> str:
        q = self.dialect.quote
        value = f"{q(alias)}.{q(f'__value_{column}')}"
        if isinstance(join, Lookup):
            return value
        oldest = self.dialect.shift(f"{q('s')}.{q(_AT)}", -microseconds(join.max_age))
        return f"CASE WHEN {q(alias)}.{q(_TIME)} >= {oldest} THEN {value} END"

    def rolling_groups(self) -> list[tuple[str, tuple[str, ...], str]]:
        """Rollings over the same rows and keys share their running totals."""
        return list(dict.fromkeys(_group(join) for join in self.view.joins if isinstance(join, Rolling)))

    def members(self, group: tuple[str, tuple[str, ...], str]) -> list[Rolling]:
        return [join for join in self.view.joins if isinstance(join, Rolling) and _group(join) == group]

    def windows(self, group: tuple[str, tuple[str, ...], str]) -> list[int]:
        return list(dict.fromkeys(microseconds(join.window) for join in self.members(group)))

    def running_totals(self, group: tuple[str, tuple[str, ...], str], sources: Mapping[str, str]) -> str:
        table, by, known_at = group
        d, q = self.dialect, self.dialect.quote
        known = d.moment(self.column(known_at))
        summed = dict.fromkeys(join.column for join in self.members(group) if join.column)
        keys = [f"{self.column(name)} AS {q(f'__by_{name}')}" for name in by]
        sums = [f"COUNT(*) AS {q(_ROWS)}"]
        for name in summed:
            number = d.number(self.column(name))
            sums += [f"COUNT({number}) AS {q(f'__n_{name}')}", f"COALESCE(SUM({number}), 0) AS {q(f'__sum_{name}')}"]
        inner = ",\n  ".join([*keys, f"{known} AS {q(_KNOWN)}", *sums])
        grouped = ", ".join([*map(self.column, by), known])
        moments = (
            f"SELECT\n  {inner}\nFROM {self.source(table, sources)}\n"
            f"WHERE {known} <= {d.literal(self.as_of)}\nGROUP BY {grouped}"
        )

        def moment(name: str) -> str:
            return f"{q('m')}.{q(name)}"

        partition = ", ".join(moment(f"__by_{name}") for name in by)
        frame = "ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW"
        over = f"OVER (PARTITION BY {partition} ORDER BY {moment(_KNOWN)} {frame})"
        figures = [_ROWS, *(f"__{kind}_{name}" for name in summed for kind in ("n", "sum"))]
        columns = [
            *(moment(f"__by_{name}") for name in by),
            moment(_KNOWN),
            *(f"SUM({moment(figure)}) {over} AS {q(figure)}" for figure in figures),
        ]
        body = ",\n  ".join(columns)
        return f"SELECT\n  {body}\nFROM (\n{_indent(moments)}\n) AS {q('m')}"

    def join_total(self, by: tuple[str, ...], totals: str, alias: str, moment: str) -> str:
        q = self.dialect.quote
        left, right = f"{q('s')}.{moment}", f"{q(alias)}.{q(_KNOWN)}"
        return self.dialect.asof_join(q(f"__{totals}"), q(alias), left, right, self.equal(by, alias))

    def equal(self, by: tuple[str, ...], alias: str) -> list[tuple[str, str]]:
        q = self.dialect.quote
        return [(f"{q('s')}.{q(f'__by_{name}')}", f"{q(alias)}.{q(f'__by_{name}')}") for name in by]

    def figure(self, join: Rolling, totals: str) -> str:
        def between(figure: str) -> str:
            q = self.dialect.quote
            now, before = (f"{q(alias)}.{q(figure)}" for alias in (f"{totals}_now", f"{totals}_{window}"))
            return f"(COALESCE({now}, 0) - COALESCE({before}, 0))"

        window = microseconds(join.window)
        if join.count:
            return f"CAST({between(_ROWS)} AS BIGINT)"
        total = f"CAST({between(f'__sum_{join.column}')} AS DOUBLE)"
        number = between(f"__n_{join.column}")
        return total if join.sum else f"CASE WHEN {number} > 0 THEN {total} / {number} END"


def _group(join: Rolling) -> tuple[str, tuple[str, ...], str]:
    return join.table, join.by, join.known_at


def _back(micros: int) -> str:
    return f"__back_{micros}"


def _indent(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())
