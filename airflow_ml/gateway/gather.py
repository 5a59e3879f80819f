"""One call for all that came while the call before was under way: cheap when idle, and cheaper the busier it is."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class Gather(Generic[Item, Result]):
    """Gathers items into calls, at most one at a time; nothing ever waits for more to come.

    Items of a call that fails are tried again one by one, so that none fails for its neighbour's sake.

    Args:
        work: Returns a result for each item, in their order.
        limit: Sizes in one call together, at most; an item that is as large has a call of its own.
        final: Errors for which trying one by one would not help; all items of the call get them.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        limit: int,
        final: tuple[type[Exception], ...] = (),
    ) -> None:
        self._work, self._limit, self._final = work, limit, final
        self._waiting: deque[tuple[Item, int, asyncio.Future[Result]]] = deque()
        self._task: asyncio.Task[None] | None = None

    async def __call__(self, item: Item, size: int) -> Result:
        """Return the result of an item of this size; raises what ``work`` raised for it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, size, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        taken: list[tuple[Item, asyncio.Future[Result]]] = []
        try:
            while self._waiting:
                taken = self._take()
                await self._answer(taken)
        finally:
            self._task = None
            for future in (*(future for _, future in taken), *(future for _, _, future in self._waiting)):
                future.cancel()  # of those that are done already this changes nothing
            self._waiting.clear()

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        taken: list[tuple[Item, asyncio.Future[Result]]] = []
        left = self._limit
        while self._waiting and (not taken or self._waiting[0][1] <= left):
            item, size, future = self._waiting.popleft()
            left -= size
            taken.append((item, future))
        return taken

    async def _answer(self, taken: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._work([item for item, _ in taken])
        except Exception as error:
            if len(taken) > 1 and not isinstance(error, self._final):
                for one in taken:
                    await self._answer([one])
                return
            for _, future in taken:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), result in zip(taken, results, strict=True):
            if not future.done():  # whoever asked may have hung up
                future.set_result(result)
