"""Links carry nothing but http and https."""

from __future__ import annotations

import pytest

from airflow_ml.links import safe_url


@pytest.mark.parametrize("url", ["http://ml:5000/#/models/churn", "https://ml.example.com/a?b=c"])
def test_kept(url: str) -> None:
    assert safe_url(url) == url


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "\tjavascript:alert(1)",
        "data:text/html,x",
        "//evil.example.com",
        "\\\\evil",
        "https://ok@evil.example.com",
        "https:///path",
        "http://a b",
        "",
    ],
)
def test_dropped(url: str) -> None:
    assert safe_url(url) == ""
