"""Blocking reads, off the loop and under a time limit."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Blocking:
    """Runs one blocking call at a time, each in a thread of its own.

    Not an executor: its threads are shared, so a few hung devices would use them up for all, and it is joined when the process ends,
    so a hung device would keep the agent from stopping. At most one thread hangs for each source.
    """

    def __init__(self, name: str, limit_seconds: float) -> None:
        self._name = name
        self._limit_seconds = limit_seconds
        self._busy = False

    async def call(self, function: Callable[[], T]) -> T:
        """What ``function`` returns or raises. Raises TimeoutError when it takes too long, or an earlier call still hangs."""
        if self._busy:
            raise TimeoutError(f"{self._name}: the read before this one still hangs")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            try:
                result = function()
            except BaseException as error:
                finish = partial(_fail, done, error)
            else:
                finish = partial(_succeed, done, result)
            self._busy = False
            with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile
                loop.call_soon_threadsafe(finish)

        self._busy = True
        threading.Thread(target=work, name=f"read {self._name}", daemon=True).start()
        try:
            async with asyncio.timeout(self._limit_seconds):
                return await done
        except TimeoutError:
            if done.done() and not done.cancelled():
                raise  # the function's own
            raise TimeoutError(f"{self._name}: no answer within {self._limit_seconds:g} s") from None


def _succeed(done: asyncio.Future[T], result: T) -> None:
    if not done.done():  # else nobody waits any more
        done.set_result(result)


def _fail(done: asyncio.Future[T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error)
