"""What every ``core.ports.Router`` must do: subclass ``RouterContract`` and override its fixtures."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from airflow_ml.core.ports import Router, Traffic
from airflow_ml.core.record import JSON
from airflow_ml.errors import FencedOut, RouterFailed


class RouterContract:
    """Override ``router``, ``another_client`` and the three variants."""

    @pytest.fixture
    def router(self) -> Router:
        """The router under test."""
        raise NotImplementedError

    @pytest.fixture
    def another_client(self, router: Router) -> Router:
        """A second connection to the same system."""
        raise NotImplementedError

    @pytest.fixture
    def variants(self) -> tuple[Mapping[str, JSON], Mapping[str, JSON]]:
        """Champion and challenger that can be loaded."""
        raise NotImplementedError

    @pytest.fixture
    def unloadable(self) -> Mapping[str, JSON]:
        """A variant whose model does not exist."""
        raise NotImplementedError

    @pytest.fixture
    def model(self) -> str:
        """A model that no other test uses."""
        return f"model-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def traffic(self, model: str, variants: tuple[Mapping[str, JSON], Mapping[str, JSON]]) -> Traffic:
        """A split of 5 % that is not written yet."""
        return Traffic(
            model=model,
            epoch=4,
            champion=variants[0],
            challenger=variants[1],
            weight_percent=5.0,
            expires_at=datetime.now(UTC).replace(microsecond=250_000) + timedelta(hours=1),
            salt="rollout-4",
        )

    def test_an_unknown_model_reads_as_none(self, router: Router, model: str) -> None:
        assert router.read(model) is None

    def test_what_was_written_is_read_by_every_client(
        self, router: Router, another_client: Router, traffic: Traffic
    ) -> None:
        router.write(traffic)
        assert router.read(traffic.model) == traffic
        assert another_client.read(traffic.model) == traffic

    def test_the_weight_moves_within_an_epoch(self, router: Router, traffic: Traffic) -> None:
        for weight in (5.0, 25.0, 33.3, 100.0, 0.0):
            router.write(replace(traffic, weight_percent=weight))
            held = router.read(traffic.model)
            assert held is not None
            assert held.weight_percent == weight

    def test_the_same_write_again_changes_nothing(self, router: Router, traffic: Traffic) -> None:
        router.write(traffic)
        router.write(traffic)
        assert router.read(traffic.model) == traffic

    def test_a_champion_alone_without_an_expiry(self, router: Router, traffic: Traffic) -> None:
        alone = replace(traffic, challenger=None, weight_percent=0.0, expires_at=None)
        router.write(alone)
        assert router.read(traffic.model) == alone

    def test_several_challengers_and_who_is_stopped(
        self, router: Router, another_client: Router, traffic: Traffic, variants: tuple[Mapping[str, JSON], ...]
    ) -> None:
        several = replace(traffic, others=(variants[0], variants[1]))
        router.write(several)
        assert another_client.read(traffic.model) == several
        fewer = replace(several, stopped=("challenger-2",))
        router.write(fewer)
        assert another_client.read(traffic.model) == fewer

    def test_a_shadow(self, router: Router, another_client: Router, traffic: Traffic) -> None:
        shadow = replace(traffic, weight_percent=0.0, shadow=True)
        router.write(shadow)
        assert another_client.read(traffic.model) == shadow
        router.write(replace(shadow, shadow=False, weight_percent=5.0))
        held = another_client.read(traffic.model)
        assert held is not None
        assert (held.shadow, held.weight_percent) == (False, 5.0)

    def test_a_further_challenger_that_cannot_be_loaded_changes_nothing(
        self, router: Router, traffic: Traffic, unloadable: Mapping[str, JSON]
    ) -> None:
        router.write(traffic)
        with pytest.raises(RouterFailed):
            router.write(replace(traffic, others=(unloadable,)))
        assert router.read(traffic.model) == traffic

    def test_a_lower_epoch_is_fenced_out(self, router: Router, another_client: Router, traffic: Traffic) -> None:
        router.write(traffic)
        with pytest.raises(FencedOut, match="4"):
            another_client.write(replace(traffic, epoch=3, weight_percent=50.0))
        assert router.read(traffic.model) == traffic

    def test_a_higher_epoch_takes_over_and_keeps_the_old_owner_out(
        self, router: Router, another_client: Router, traffic: Traffic
    ) -> None:
        router.write(traffic)
        rollback = replace(traffic, epoch=5, weight_percent=0.0)
        another_client.write(rollback)
        with pytest.raises(FencedOut):
            router.write(replace(traffic, weight_percent=50.0))
        assert router.read(traffic.model) == rollback

    def test_models_do_not_share_a_fence(self, router: Router, traffic: Traffic) -> None:
        router.write(traffic)
        other = replace(traffic, model=f"{traffic.model}-other", epoch=1)
        router.write(other)
        assert router.read(other.model) == other

    def test_a_variant_that_cannot_be_loaded_changes_nothing(
        self, router: Router, traffic: Traffic, unloadable: Mapping[str, JSON]
    ) -> None:
        router.write(traffic)
        with pytest.raises(RouterFailed):
            router.write(replace(traffic, epoch=6, challenger=unloadable))
        assert router.read(traffic.model) == traffic
        router.write(replace(traffic, weight_percent=25.0))
