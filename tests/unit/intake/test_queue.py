"""The queue: the most urgent first, the longest waiting first among equals, and nothing twice."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from edgenode.intake.queue import JobQueue


async def drain(queue: JobQueue) -> list[bytes]:
    return [(await queue.get())[0] for _ in range(len(queue))]


async def test_the_most_urgent_comes_first_and_equals_in_turn() -> None:
    queue = JobQueue()
    for job, priority in ((b"a", 50), (b"b", 100), (b"c", 50), (b"d", 0), (b"e", 100)):
        queue.put(job, priority)
    assert await drain(queue) == [b"b", b"e", b"a", b"c", b"d"]


async def test_a_job_with_many_steps_lets_others_of_its_priority_go_between() -> None:
    queue = JobQueue()
    queue.put(b"long", 50)
    queue.put(b"short", 50)
    ran = []
    for _ in range(4):
        job, priority = await queue.get()
        ran.append(job)
        queue.put(job, priority)
    assert ran == [b"long", b"short", b"long", b"short"]


async def test_a_job_stands_in_it_once() -> None:
    queue = JobQueue()
    queue.put(b"a", 50)
    queue.put(b"a", 99)
    assert len(queue) == 1
    assert await queue.get() == (b"a", 50)
    queue.put(b"a", 99)
    assert await queue.get() == (b"a", 99)


async def test_who_waits_is_woken_and_each_job_goes_to_one() -> None:
    queue = JobQueue()
    async with asyncio.TaskGroup() as group:
        waiting = [group.create_task(queue.get()) for _ in range(3)]
        await asyncio.sleep(0)
        for job in (b"a", b"b", b"c"):
            queue.put(job, 50)
    assert sorted(task.result()[0] for task in waiting) == [b"a", b"b", b"c"]


async def test_a_waiter_that_was_cancelled_takes_nothing() -> None:
    queue = JobQueue()
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.put(b"a", 50)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    assert await asyncio.wait_for(queue.get(), 1) == (b"a", 50)


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 100))))
def test_the_order_is_that_of_a_stable_sort(jobs: list[tuple[int, int]]) -> None:
    first: dict[int, int] = {}
    for name, priority in jobs:
        first.setdefault(name, priority)

    async def run() -> list[bytes]:
        queue = JobQueue()
        for name, priority in jobs:
            queue.put(bytes([name]), priority)
        return await drain(queue)

    assert asyncio.run(run()) == [bytes([name]) for name in sorted(first, key=lambda name: -first[name])]
