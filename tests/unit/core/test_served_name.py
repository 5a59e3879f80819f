from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from airflow_ml.core.served_name import served_name
from airflow_ml.gateway.wire import check_model


def test_production_has_the_plain_name_and_others_their_own() -> None:
    assert served_name("flights", "prod") == "flights"
    assert served_name("flights", "alice") == "flights@alice"
    assert re.fullmatch(r"flights@feature-new-model-[0-9a-f]{8}", served_name("flights", "feature/new model"))


NAMES = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=60)


@given(NAMES, NAMES)
def test_two_namespaces_never_share_a_name_and_every_name_is_good_for_a_gateway(one: str, other: str) -> None:
    names = [served_name("flights", one), served_name("flights", other)]
    assert (names[0] == names[1]) == (one == other)
    for name in names:
        check_model(name.rstrip("."))
