from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from airflow_ml.gateway.gather import Gather


class Lost(Exception):
    pass


class Server:
    """Doubles numbers; every call is under way until the loop has run others."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.calls.append(list(items))
        await asyncio.sleep(0.01)
        if 13 in items:
            raise ValueError("13")
        if 99 in items:
            raise Lost
        return [2 * item for item in items]


def run(numbers: Sequence[int], limit: int = 100) -> tuple[list[int | BaseException], list[list[int]]]:
    server = Server()

    async def go() -> list[int | BaseException]:
        gather: Gather[int, int] = Gather(server, limit=limit, final=(Lost,))
        first = asyncio.create_task(gather(numbers[0], 1))
        await asyncio.sleep(0)
        await asyncio.sleep(0)  # the first call is under way
        others = [gather(number, 1 if number else 1000) for number in numbers[1:]]
        return await asyncio.gather(first, *others, return_exceptions=True)

    return asyncio.run(go()), server.calls


def test_what_comes_while_a_call_is_under_way_is_one_call() -> None:
    found, calls = run([1, 2, 3, 4])
    assert found == [2, 4, 6, 8]
    assert calls == [[1], [2, 3, 4]]


def test_a_call_has_no_more_than_the_limit_unless_one_item_has() -> None:
    found, calls = run([1, 2, 3, 4, 0, 5], limit=2)
    assert found == [2, 4, 6, 8, 0, 10]
    assert calls == [[1], [2, 3], [4], [0], [5]]


def test_an_item_that_fails_fails_alone() -> None:
    found, _ = run([1, 2, 13, 4])
    assert [str(one) for one in found] == ["2", "4", "13", "8"]
    assert isinstance(found[2], ValueError)


def test_what_is_final_is_everybodys() -> None:
    found, calls = run([1, 2, 99])
    assert found[0] == 2
    assert [type(one) for one in found[1:]] == [Lost, Lost]
    assert calls == [[1], [2, 99]]


def test_whoever_hangs_up_takes_nothing_from_the_others() -> None:
    server = Server()

    async def go() -> int:
        gather: Gather[int, int] = Gather(server, limit=10)
        leaving, staying = asyncio.create_task(gather(1, 1)), asyncio.create_task(gather(2, 1))
        await asyncio.sleep(0.005)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        return await staying

    assert asyncio.run(go()) == 4
