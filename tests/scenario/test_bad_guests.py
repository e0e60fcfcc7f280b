"""Guests that fail or harm their worker: a signed outcome or a fault receipt, and the node still runs good jobs."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import pytest

from edgenode.errors import EdgenodeError, ModuleError, RefusedError
from edgenode.formats.job import ModuleReference
from edgenode.formats.trust import Revoked
from edgenode.records import digest
from edgenode.testing import FakeClock, Fleet, Laptop, everything, window
from edgenode.trust.issue import issue
from edgenode_sdk import Result, Submission

from .steps import assert_alive, assert_chain, assert_steps, kinds, until


@pytest.fixture
async def node(node: Fleet) -> Fleet:
    """A node whose worker has nothing of the node's own to run any more."""
    await node.nodes["a"].agent.measured.wait()
    return node


@pytest.mark.parametrize(
    ("guest", "limits", "outcome"),
    [
        ("slow", {"fuel": 1_000}, "fuel"),
        ("endless", {"fuel": 100_000_000}, "fuel"),
        ("trap", {}, "trap"),
        ("overflow", {}, "stack"),
        ("bomb", {}, "trap"),  # memory.grow fails beyond the manifest's limit, and then the guest gives up
        ("huge", {}, "memory"),
    ],
)
async def test_guest_that_fails_is_an_outcome(guest: str, limits: dict[str, int], outcome: str, node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign(guest)
    (result,) = await laptop.run(guest, limits=limits)
    assert kinds([result]) == [outcome]
    assert result.core is not None and result.core.state_after == result.core.state_before
    assert result.core.fuel == (limits["fuel"] if outcome == "fuel" else None)
    await assert_alive(laptop)


async def test_max_failures_in_a_row_stop_the_job(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("trap")
    results = await laptop.run("trap", window=window(size="1s"), max_failures=3)
    assert kinds(results) == ["trap"] * 3 + ["stop: max-failures"]
    await assert_alive(laptop)


@pytest.mark.parametrize(("guest", "why"), [("imports", r"imports func env\.now"), ("noise", "not WebAssembly")])
async def test_module_that_no_sandbox_runs_is_refused(guest: str, why: str, node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign(guest)
    with pytest.raises(ModuleError, match=why):
        await laptop.submit(guest)
    await assert_alive(laptop)


async def worker(node: Fleet, *, other_than: int = 0) -> int:
    """The process that runs a step now."""
    pool = node.nodes["a"].agent._rooms.pool
    await until(lambda: pool.status().busy == 1 and other_than not in pool.status().pids)
    (pid,) = pool.status().pids
    return pid


async def test_worker_killed_in_mid_step_is_replaced_and_the_step_repeated(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("slow")
    submission = await laptop.submit("slow")
    os.kill(await worker(node), signal.SIGKILL)
    assert_steps(await everything(submission), 1)
    await assert_alive(laptop)


async def test_worker_killed_twice_ends_the_job_with_a_fault(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("slow")
    submission = await laptop.submit("slow")
    first = await worker(node)
    os.kill(first, signal.SIGKILL)
    os.kill(await worker(node, other_than=first), signal.SIGKILL)
    assert kinds(await everything(submission)) == ["fault: worker-died"]
    assert [told.state for told in submission.executions.values()] == ["quarantined"]
    await assert_alive(laptop)
    body = await laptop.fleet.job(submission.job.id)
    again = issue(replace(body, generation=body.generation + 1), laptop.fleet._identity)
    (answer,) = (await laptop.fleet.ask(lambda api: api.submit(again, b""))).values()
    assert isinstance(answer, RefusedError) and "quarantined" in answer.what
    another = issue(replace(body, generation=body.generation + 1, module=ModuleReference(name="hello")), laptop.fleet._identity)
    (answer,) = (await laptop.fleet.ask(lambda api: api.submit(another, b""))).values()
    assert not isinstance(answer, EdgenodeError)


async def test_worker_that_hangs_is_a_fault_of_the_node(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("endless")
    results = await laptop.run("endless", limits={"wall_ms": 200})
    assert kinds(results) == ["fault: worker-hung"]
    await assert_alive(laptop)


async def test_worker_that_is_frozen_is_a_fault_of_the_node(node: Fleet, laptop: Laptop) -> None:
    (pid,) = node.nodes["a"].agent._rooms.pool.status().pids
    os.kill(pid, signal.SIGSTOP)
    results = await laptop.run("hello", limits={"wall_ms": 300})
    assert kinds(results) == ["ok"]  # the second worker answered
    await assert_alive(laptop)


async def test_expired_trust_document_stops_nothing_that_runs_and_admits_nothing_new(tmp_path: object, fleet: Fleet) -> None:
    clock = FakeClock(running=True)
    fleet.clock = fleet.home.clock = clock
    fleet.publish(expires=clock.now_ns() // 10**9 + 600)
    fleet.enrol("a")
    await fleet.start("a")
    fleet.publisher.sign("slow")
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("slow", window=window(size="20s"))
        results: list[Result] = []
        async for result in submission.receipts(20):
            if not results:
                clock.advance(900)
                with pytest.raises(Exception, match=r"trust document, version \d, has expired"):
                    await laptop.submit("hello")
            results.append(result)
    assert_steps(results, 3)
    trust = [result.receipt.measured.trust.value for result in results]
    assert trust[0] == "valid" and trust[-1] == "expired"


async def test_revoked_module_stops_between_two_steps(node: Fleet, laptop: Laptop) -> None:
    wasm, _ = node.publisher.sign("slow")
    submission = await laptop.submit("slow", window=window(size="1s"))
    results: list[Result] = []
    async for result in submission.receipts(20):
        if not results:
            node.publish(revoked=Revoked(modules=(digest(wasm),)))
        results.append(result)
    assert kinds(results)[0] == "ok" and kinds(results)[-1] == "stop: revoked"
    assert len(results) <= 3  # the step that ran then, its receipt, and the stop
    assert_chain(results)
    with pytest.raises(Exception, match="is revoked"):
        await laptop.submit("slow")
    await assert_alive(laptop)


async def test_guests_that_fail_do_not_hold_up_others(fleet: Fleet) -> None:
    fleet.enrol("a", sandbox={"workers": 2})
    await fleet.start("a")
    for guest in ("endless", "trap", "hello"):
        fleet.publisher.sign(guest)
    async with fleet.laptop() as laptop:
        hanging = await laptop.submit("endless", limits={"wall_ms": 500})
        many = await asyncio.gather(*(laptop.submit("trap" if turn % 3 else "hello") for turn in range(12)))
        found = [await last(one) for one in many]
        assert found == ["trap" if turn % 3 else "ok" for turn in range(12)]
        assert await last(hanging) == "fault: worker-hung"


async def last(submission: Submission) -> str:
    return kinds(await everything(submission))[-1]
