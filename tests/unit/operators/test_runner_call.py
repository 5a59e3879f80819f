import pytest

from airflow_ml.core.call import Call, CallResult, FunctionRef
from airflow_ml.errors import CallFailed, ColumnMissing, NoCodec, StoreUnavailable
from airflow_ml.operators.runner_call import value_of_result
from airflow_ml.runtime.worker import describe

TRAIN = FunctionRef(kind="import", module="m", qualname="train", digest="d")
CALL = Call(function=TRAIN, arguments={}, seed=0, environment="e")


@pytest.mark.parametrize(
    ("error", "retryable"),
    [
        (ValueError("bad luck"), True),
        (StoreUnavailable("The store does not answer", "503", "Wait."), True),
        (NoCodec("No codec stores this value", "a lock", "Return something else."), False),
        (ColumnMissing("No such column", "temprature", "Did you mean temperature?"), False),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_retry_cannot_cure_is_not_retried(error: Exception, retryable: bool) -> None:
    result = CallResult(call=CALL.key, status="failed", error=describe(error), traceback="line 1", seconds=1.0)
    with pytest.raises(CallFailed, match="train failed") as caught:
        value_of_result(CALL, result, None)
    assert caught.value.retryable is retryable
