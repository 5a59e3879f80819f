"""Whatever S3 answers, or does not, is an error of this project's tree with a remedy that fits."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from airflow_ml.adapters.object_store import open_store
from airflow_ml.adapters.s3_objects import Objects
from airflow_ml.errors import AirflowMLError, ArtifactCorrupt, ConfigurationError, StoreUnavailable

botocore = pytest.importorskip("botocore.exceptions")
DIGEST = "sha256:" + "ab" * 32


class Client:
    """Answers each request with an error, but for those that are named."""

    def __init__(self, error: Exception, fine: dict[str, Any] | None = None) -> None:
        self._error, self._fine = error, fine or {}

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def answer(*args: Any, **kwargs: Any) -> Any:
            if name in self._fine:
                return self._fine[name]
            raise self._error

        return answer


def refused(status: int, code: str) -> Exception:
    error: Exception = botocore.ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject"
    )
    return error


AWAY = [refused(500, "InternalError"), refused(503, "SlowDown"), refused(429, "TooManyRequests")]
AWAY += [refused(400, "RequestTimeout"), botocore.EndpointConnectionError(endpoint_url="http://s3")]
HEAD = {"ResponseMetadata": {"HTTPStatusCode": 200}}

CALLS: dict[str, tuple[dict[str, Any], Callable[[Objects], Any]]] = {
    "create": ({}, lambda it: it.create("k", b"x", DIGEST)),
    "head": ({}, lambda it: it.head("k")),
    "read": ({}, lambda it: it.read("k")),
    "first": ({}, lambda it: it.first("k")),
    "remove": ({}, lambda it: it.remove("k")),
    "copy": ({"head_object": HEAD}, lambda it: it.copy("k", "l")),
    "begin parts": ({}, lambda it: it.create_in_parts("k", io.BytesIO(b"x"), 1, DIGEST)),
    "parts": (
        {"create_multipart_upload": {"UploadId": "u"}},
        lambda it: it.create_in_parts("k", io.BytesIO(b"x"), 1, DIGEST),
    ),
}


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("error", AWAY, ids=lambda error: f"{error}"[-40:])
def test_a_service_that_is_away_may_come_back(name: str, error: Exception) -> None:
    fine, call = CALLS[name]
    with pytest.raises(StoreUnavailable) as caught:
        call(Objects(Client(error, fine), "b", "s3://b"))
    assert caught.value.retryable


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("status", [403, 405, 451])
def test_a_refusal_is_a_setting(name: str, status: int) -> None:
    fine, call = CALLS[name]
    with pytest.raises(ConfigurationError, match=f"HTTP {status}"):
        call(Objects(Client(refused(status, "Denied"), fine), "b", "s3://b"))


@pytest.mark.parametrize("code", ["BadDigest", "XAmzContentChecksumMismatch"])
def test_bytes_that_are_not_those_of_the_digest_are_not_the_buckets_fault(code: str) -> None:
    with pytest.raises(ArtifactCorrupt, match="changed while it was stored") as caught:
        Objects(Client(refused(400, code)), "b", "s3://b").create("k", b"x", DIGEST)
    assert isinstance(caught.value, AirflowMLError)


def test_a_stores_address_opens_the_same_store_elsewhere() -> None:
    address = "s3://b/p?conditional_writes=assumed"
    store: Any = open_store(address, client=Client(refused(403, "Denied")))
    again: Any = open_store(store.uri, client=Client(refused(403, "Denied")))
    assert (store.uri, again._is_checked) == (address, True)
    assert open_store("s3://b/p", client=Client(refused(403, "Denied"))).uri == "s3://b/p"
