from dataclasses import replace

import pytest

from airflow_ml.core.artifact import Artifact
from airflow_ml.core.registration import ModelVersion
from airflow_ml.plugin.views.aliases import aliases_of, unasked
from airflow_ml.plugin.views.rollouts import Book

BLOB = Artifact(digest=f"sha256:{'0' * 64}", format="json", size_bytes=1, uri="memory:")
VERSION = ModelVersion(
    name="flights", version="2", run_id="r", model_uri="m", models=BLOB, model_digest=BLOB.digest, view="v",
    view_digest="sha256:v", view_definition=BLOB, features=("x",), metrics={}, alias="challenger", made_by={},
)  # fmt: skip


@pytest.mark.parametrize(("namespace", "alias"), [("prod", "challenger"), ("ada", "challenger-ada")])
def test_the_newest_version_with_the_namespace_s_alias_is_the_challenger(namespace: str, alias: str) -> None:
    book = Book()
    record = replace(VERSION, namespace=namespace, alias=alias)
    other = replace(VERSION, version="3", namespace=namespace, alias="candidate")
    assert aliases_of(book, [other, record], lambda: unasked("flights", None)) == {"challenger": "2"}
