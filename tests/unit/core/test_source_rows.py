from datetime import UTC, datetime, timedelta

from airflow_ml.core.feature_view import AsOf, FeatureView, Label, Lookup, Rolling
from airflow_ml.core.source_rows import ZONE_MARGIN, TimeRange, table_statement, time_ranges

FIRST = datetime(2013, 6, 1, tzinfo=UTC)
LAST = datetime(2013, 6, 2, tzinfo=UTC)
AS_OF = datetime(2013, 6, 1, 18, tzinfo=UTC)
WEATHER = AsOf("weather", by="origin", time="observed_at", delay="20min", max_age="3h", columns=["temp"])
LONG = Rolling("flights", by="origin", mean="late", known_at="landed_at", window="7d", name="long")
SHORT = Rolling("flights", by="origin", count=True, known_at="landed_at", window="1d", name="short")
OTHER = Rolling("flights", by="dest", count=True, known_at="departed_at", window="1d", name="other")


def ranges(table: str, *joins: AsOf | Rolling | Lookup, last_at: datetime = LAST) -> tuple[TimeRange, ...]:
    view = FeatureView("v", key="id", predict_at="at", label=Label("y", known_at="y_at"), joins=joins)
    return time_ranges(view, table, first_at=FIRST, last_at=last_at, as_of=AS_OF)


def test_each_join_looks_back_from_the_first_row_to_what_is_known() -> None:
    until = AS_OF + ZONE_MARGIN
    assert ranges("weather", WEATHER, LONG) == (
        TimeRange("observed_at", FIRST - timedelta(hours=3) - ZONE_MARGIN, until),
    )
    assert ranges("flights", WEATHER, SHORT, LONG, OTHER) == (
        TimeRange("landed_at", FIRST - timedelta(days=7) - ZONE_MARGIN, until),
        TimeRange("departed_at", FIRST - timedelta(days=1) - ZONE_MARGIN, until),
    )
    assert ranges("weather", WEATHER, last_at=FIRST)[0].last_at == FIRST + ZONE_MARGIN


def test_a_table_that_is_also_looked_up_is_read_whole() -> None:
    assert ranges("flights", LONG, Lookup("flights", by="origin", static=True, columns="seats")) == ()


def test_a_reach_beyond_the_calendar_ends_with_it() -> None:
    """Tables hold such dates for "always" and "never"."""
    first, last = datetime(1, 1, 1, 1, tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    view = FeatureView("v", key="id", predict_at="at", label=Label("y", known_at="y_at"), joins=[WEATHER])
    (found,) = time_ranges(view, "weather", first_at=first, last_at=last, as_of=last)
    assert found == TimeRange("observed_at", datetime.min.replace(tzinfo=UTC), last)


def test_names_are_quoted_and_moments_are_bound() -> None:
    within = [TimeRange("at", FIRST, LAST), TimeRange('"100%"', FIRST, AS_OF)]
    text, values = table_statement('"T"', ["a", '"b%(as_of)s"'], within)
    assert text == (
        'SELECT "A", "b%%(as_of)s" FROM "T" WHERE "AT" BETWEEN %(first_0)s AND %(last_0)s'
        ' OR "100%%" BETWEEN %(first_1)s AND %(last_1)s'
    )
    assert values == {"first_0": FIRST, "last_0": LAST, "first_1": FIRST, "last_1": AS_OF}
    assert table_statement('"T"', None, ()) == ('SELECT * FROM "T"', {})
