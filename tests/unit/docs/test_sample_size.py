"""The tutorial's sum: how much traffic shows how small an effect."""

from __future__ import annotations


def test_requests_grow_with_the_inverse_square_of_the_effect() -> None:
    # --8<-- [start:plan]
    from airflow_ml.core.mixture import requests_needed

    # Brier of one flight varies with a standard deviation of about 0.2; half of the traffic goes to each arm.
    large = requests_needed(0.020, 0.2, challenger_share=0.5, tau_requests=100.0)
    small = requests_needed(0.002, 0.2, challenger_share=0.5, tau_requests=100.0)
    assert small > 100 * large  # a tenth of the effect needs more than a hundred times the requests
    # --8<-- [end:plan]
    assert large > 1000
