from __future__ import annotations

import pytest

from airflow_ml.adapters.great_expectations import GreatExpectationsValidator
from airflow_ml.adapters.memory.validator import MemoryValidator
from airflow_ml.core.ports import Validator
from airflow_ml.testing.contracts.validator import ValidatorContract


class TestGreatExpectations(ValidatorContract):
    @pytest.fixture
    def validator(self) -> Validator:
        return GreatExpectationsValidator()


class TestMemory(ValidatorContract):
    @pytest.fixture
    def validator(self) -> Validator:
        return MemoryValidator()
