from pathlib import Path

import pytest

from airflow_ml.gateway.__main__ import main


def test_an_address_that_is_no_store_is_refused_before_anything_listens(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--directory", str(tmp_path / "gateway"), "--store", "models", "--port", "0"]) == 1
    assert "models" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
