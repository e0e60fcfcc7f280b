"""Callers that are slow, impatient or gone: they hold up nobody, and what was accepted goes on without them."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from edgenode import dispatch, pipeline
from edgenode.records import Capabilities
from edgenode.testing import PATIENCE, Fleet, Laptop, everything, wasm, window
from edgenode.transport.node_api import Execution
from edgenode.transport.wire import JOBS

from .steps import assert_alive, assert_steps, until

SUMMARY = 512 * 1024
LOUD = f"""(module
    (memory (export "memory") 16)
    (data (i32.const 256) "\\20\\00\\00\\00\\00\\00\\08\\00")
    (func (export "edgenode_alloc") (param i32) (result i32) (i32.const 0x90000))
    (func (export "edgenode_step") (param i32 i32) (result i64) (i64.const {256 << 32 | SUMMARY + 8})))"""


async def test_no_waiting_gives_what_is_there_now(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("slow")
    submission = await laptop.submit("slow", window=window(size="20s"))
    async with asyncio.timeout(2):
        assert await everything(submission, wait=0) == []
    assert [told.state for told in submission.executions.values()] == ["open"]
    assert_steps(await everything(submission), 3)
    assert_steps(await everything(submission, wait=0), 3)


async def test_slow_reader_of_a_stream_holds_up_no_other(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("loud", wasm(LOUD), capabilities=Capabilities(channels=("*",), summary=SUMMARY))
    submission = await laptop.submit("loud", window=window(size="2s"))
    client = submission.through.api.client
    slow = client.stream("GET", f"{JOBS}/{submission.id}/receipts?wait=60", seconds=60)
    assert await anext(slow)
    async with asyncio.timeout(PATIENCE):
        results = await everything(submission)
        assert_steps(results, 30)
        await assert_alive(laptop)
    received = 0
    async for chunk in slow:
        received += len(chunk)
    assert received > 20 * SUMMARY  # and the slow one gets all of it in the end


async def test_reader_that_goes_away_leaves_nothing_behind(node: Fleet, laptop: Laptop, caplog: pytest.LogCaptureFixture) -> None:
    node.publisher.sign("slow")
    submission = await laptop.submit("slow", window=window(size="1s"))
    followers = node.nodes["a"].agent._dispatch._progress._followers
    async with node.laptop() as other:
        reading = other.fleet.follow(other.fleet.nodes[0], submission.job.id, 60)
        await anext(aiter(reading))
        assert followers
        await reading.aclose()  # type: ignore[attr-defined]  # an async generator
    await until(lambda: not followers)
    await assert_alive(laptop)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_caller_that_goes_away_while_its_job_is_judged_still_gets_it_run(
    node: Fleet, laptop: Laptop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await assert_alive(laptop)
    judging, judged = threading.Event(), threading.Event()
    take_job = pipeline.take_job

    def slowly(*arguments: object) -> object:
        judging.set()
        assert judged.wait(PATIENCE)
        return take_job(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(dispatch, "take_job", slowly)
    job = bytes(range(16))
    async with node.laptop() as other:
        submitting = asyncio.create_task(other.submit("hello", job=job))
        await asyncio.to_thread(judging.wait, PATIENCE)
        submitting.cancel()
        await asyncio.wait([submitting])
    await asyncio.sleep(0.05)  # the node sees the connection close
    judged.set()
    ledger = node.nodes["a"].agent._rooms.ledger
    await until(lambda: (row := ledger.job(job)) is not None and row.state == "done", seconds=5)


async def test_wait_is_bounded(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("slow")
    submission = await laptop.submit("slow", window=window(size="1s"))
    loop = asyncio.get_running_loop()
    began = loop.time()
    items = [item async for item in laptop.fleet.follow(submission.through, submission.job.id, 0.5)]
    assert 0.4 < loop.time() - began < 3
    assert not any(isinstance(item, Execution) for item in items)  # nothing is over yet


async def test_status_and_jobs_are_told_while_steps_run(node: Fleet, laptop: Laptop) -> None:
    await node.nodes["a"].agent.measured.wait()
    node.publisher.sign("slow")
    submission = await laptop.submit("slow", window=window(size="20s"))
    api = submission.through.api
    await until(lambda: node.nodes["a"].agent._rooms.pool.status().busy == 1)
    status = await api.status()
    assert status["jobs_open"] == 1 and status["workers"]["busy"] == 1
    (job,) = await api.jobs()
    assert (job["state"], job["steps"]) == ("open", 3)
    assert_steps(await everything(submission), 3)
    assert (await api.job(submission.job.id))["state"] == "done"
