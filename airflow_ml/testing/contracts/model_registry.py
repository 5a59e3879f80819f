"""What every ``ModelRegistry`` must do. Subclass and override the ``registry`` fixture."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from airflow_ml.core.ports import ModelRegistry, RegisteredModel
from airflow_ml.errors import AliasConflict, ConfigurationError, ModelNotFound

Register = Callable[..., RegisteredModel]


class ModelRegistryContract:
    """Names are new for each test, so one server may serve them all."""

    @pytest.fixture
    def registry(self) -> ModelRegistry:
        """The adapter under test; override it."""
        raise NotImplementedError("Override the registry fixture.")

    @pytest.fixture
    def name(self) -> str:
        return f"model-{uuid.uuid4().hex[:12]}"

    @pytest.fixture
    def register(self, registry: ModelRegistry, name: str, tmp_path: Path) -> Register:
        """Register a small model directory under a key, with overridable arguments."""
        model_dir = tmp_path / "model"
        (model_dir / "data").mkdir(parents=True)
        (model_dir / "MLmodel").write_text("flavors:\n  python_function:\n    loader_module: none\n")
        (model_dir / "data" / "part.bin").write_bytes(b"\x00\x01")
        board = tmp_path / "0123abcd"
        board.write_bytes(b"leaderboard")

        def act(key: str, **changes: object) -> RegisteredModel:
            arguments: dict[str, object] = {
                "model_dir": model_dir,
                "params": {"learning_rate": 0.1, "nested": {"a": [1, 2]}},
                "metrics": {"brier": 0.125},
                "tags": {"airflow.dag_id": "flights"},
                "files": {"reports/leaderboard.parquet": board},
                "experiment": f"experiment-{name}",
                **changes,
            }
            return registry.register(name, key=key, **arguments)  # type: ignore[arg-type]

        return act

    def test_first_version_is_number_one_and_can_be_got(
        self, registry: ModelRegistry, register: Register, name: str
    ) -> None:
        made = register("key-1")
        assert (made.name, made.version) == (name, "1")
        assert made.run_id
        assert made.tags["airflow.dag_id"] == "flights"
        assert registry.get(name, "1") == made

    def test_same_key_is_the_same_version(self, register: Register) -> None:
        first = register("key-1")
        assert register("key-1", metrics={"brier": 0.5}) == first
        assert register("key-2").version == "2"
        assert register("key-1") == first

    def test_same_key_at_once_is_one_version(self, registry: ModelRegistry, register: Register, name: str) -> None:
        barrier, found = threading.Barrier(3), list[RegisteredModel]()

        def act() -> None:
            barrier.wait()
            found.append(register("key-1"))

        threads = [threading.Thread(target=act) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=120)
        assert len(found) == 3
        # A version that lost the race is removed, so all later readers see the winner.
        settled = register("key-1")
        assert registry.get(name, settled.version) == settled
        assert {made.version for made in found} == {settled.version}
        survivors = [v for v in ("1", "2", "3") if self._exists(registry, name, v)]
        assert survivors == [settled.version]

    def test_tags_are_cut_to_what_fits_and_stay_distinct(self, register: Register) -> None:
        one = register("key-1", tags={"note": "x" * 120_000 + "a"}).tags["note"]
        two = register("key-2", tags={"note": "x" * 120_000 + "b"}).tags["note"]
        assert len(one) <= 60_000
        assert "sha256:" in one
        assert one != two

    def test_many_and_odd_params_and_metrics_are_taken(self, register: Register) -> None:
        made = register(
            "key-1",
            params={**{f"p{i}": i for i in range(250)}, "long": "y" * 10_000, "odd name!?": None},
            metrics={**{f"m{i}": float(i) for i in range(1_200)}, "nan": float("nan"), "inf": float("inf")},
        )
        assert made.version == "1"

    @pytest.mark.parametrize("bad", ["", "a'b", 'a"b', "line\nbreak", "x" * 300])
    def test_a_key_that_cannot_be_searched_for_is_refused(self, register: Register, bad: str) -> None:
        with pytest.raises(ConfigurationError, match="Not a key"):
            register(bad)

    def test_absent_versions_are_named(self, registry: ModelRegistry, register: Register, name: str) -> None:
        with pytest.raises(ModelNotFound, match=name):
            registry.get(name, "1")
        register("key-1")
        for absent in ("2", "latest"):
            with pytest.raises(ModelNotFound, match=name):
                registry.get(name, absent)

    def test_absent_alias_and_absent_model_are_none(
        self, registry: ModelRegistry, register: Register, name: str
    ) -> None:
        assert registry.by_alias(name, "champion") is None
        register("key-1")
        assert registry.by_alias(name, "champion") is None

    def test_an_alias_moves_from_what_was_expected(
        self, registry: ModelRegistry, register: Register, name: str
    ) -> None:
        one, two = register("key-1"), register("key-2")
        registry.set_alias(name, "champion", one.version, expected=None)
        assert registry.by_alias(name, "champion") == one
        registry.set_alias(name, "champion", two.version, expected=one.version)
        assert registry.by_alias(name, "champion") == two

    def test_an_alias_that_was_moved_is_left_alone(
        self, registry: ModelRegistry, register: Register, name: str
    ) -> None:
        versions = [register(f"key-{i}") for i in range(3)]
        registry.set_alias(name, "champion", versions[0].version, expected=None)
        for expected in (None, versions[2].version):
            with pytest.raises(AliasConflict, match="champion"):
                registry.set_alias(name, "champion", versions[1].version, expected=expected)
        assert registry.by_alias(name, "champion") == versions[0]

    def test_setting_an_alias_again_changes_nothing(
        self, registry: ModelRegistry, register: Register, name: str
    ) -> None:
        made = register("key-1")
        registry.set_alias(name, "champion", made.version, expected=None)
        registry.set_alias(name, "champion", made.version, expected=None)
        assert registry.by_alias(name, "champion") == made

    def test_an_alias_needs_a_version(self, registry: ModelRegistry, register: Register, name: str) -> None:
        register("key-1")
        with pytest.raises(ModelNotFound):
            registry.set_alias(name, "champion", "7", expected=None)
        assert registry.by_alias(name, "champion") is None

    def test_tags_are_added_and_changed(self, registry: ModelRegistry, register: Register, name: str) -> None:
        made = register("key-1")
        registry.set_tags(name, made.version, {"outcome": "promoted", "airflow.dag_id": "other"})
        tags = registry.get(name, made.version).tags
        assert (tags["outcome"], tags["airflow.dag_id"]) == ("promoted", "other")
        assert tags["airflow_ml.key"] == "key-1"

    @staticmethod
    def _exists(registry: ModelRegistry, name: str, version: str) -> bool:
        try:
            registry.get(name, version)
        except ModelNotFound:
            return False
        return True
