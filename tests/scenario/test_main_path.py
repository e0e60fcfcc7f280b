"""The main path: a laptop hands a job to one node, every node that it is for runs it, and verified receipts come back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from edgenode.errors import ConflictError, NotSelectedError
from edgenode.formats.job import Desired
from edgenode.testing import CHANNEL, Fleet, Laptop, everything, window
from edgenode.trust.issue import issue
from edgenode_sdk import AsyncFleet, Result

from .steps import STOPPED, assert_chain, assert_steps, kinds, mesh, until

LOOPBACK = {"mdns": True, "interfaces": ["127.0.0.1"]}


async def test_three_nodes_found_by_multicast_all_run_a_job_handed_to_one(fleet: Fleet) -> None:
    for name in "abc":
        fleet.enrol(name, peers=LOOPBACK)
    await asyncio.gather(*(fleet.start(name) for name in "abc"))
    fleet.publisher.sign_builtin("statistics")
    await until(lambda: all(len(running.agent._table) == 2 for running in fleet.nodes.values()))
    async with await AsyncFleet.discover(fleet.home, interfaces=["127.0.0.1"], least=3) as found:
        assert [node.node.name for node in found.nodes] == ["a", "b", "c"] and not found.unmet
        laptop = Laptop(found)
        submission = await laptop.submit("statistics", type="ops", through="b")
        results = await everything(submission)
    assert sorted(result.node.name for result in results) == ["a", "b", "c"]
    assert {result.summary["press/value"]["mean"] for result in results} == {49.5}
    assert len({result.receipt.core for result in results}) == 1  # the same data: the same core, byte for byte
    assert {told.name: told.state for told in submission.executions.values()} == dict.fromkeys("abc", "done")


async def test_batch_job_runs_on_as_many_nodes_as_it_wants(fleet: Fleet) -> None:
    await mesh(fleet, "abc")
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        one = await laptop.run("hello", through="b")
        two = await laptop.run("hello", through="b", nodes={"count": 2})
    assert [result.node.name for result in one] == ["b"]
    assert len({result.node.name for result in two}) == len(two) == 2


async def test_labels_select_nodes_and_the_others_say_why_not(fleet: Fleet) -> None:
    await mesh(fleet, "abc", labels={"a": {"line": "1"}, "b": {"line": "3"}, "c": {"line": "3"}})
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("hello", through="a", type="ops", nodes={"labels": {"line": "3"}})
        results = await everything(submission)
    assert sorted(result.node.name for result in results) == ["b", "c"]
    told = {execution.name: execution for execution in submission.executions.values()}
    assert {name: one.state for name, one in told.items()} == {"a": "refused", "b": "done", "c": "done"}
    assert "selector does not mean node a" in told["a"].reason


async def test_node_that_alone_refuses_answers_with_the_reason(laptop: Laptop) -> None:
    with pytest.raises(NotSelectedError, match="selector"):
        await laptop.submit("hello", nodes={"labels": {"line": "9"}})


async def test_same_job_sent_twice_runs_once(node: Fleet, laptop: Laptop) -> None:
    submission = await laptop.submit("hello")
    results = await everything(submission)
    api, job = submission.through.api, node.nodes["a"].agent._rooms.ledger.job(submission.job.id)
    assert job is not None
    again = await asyncio.gather(*(api.submit(job.data, b"") for _ in range(8)))
    assert {one["execution"]["state"] for one in again} == {"done"} and all(one["duplicate"] for one in again)
    assert [one.receipt.seq for one in await everything(submission)] == [one.receipt.seq for one in results] == [0]


async def test_submissions_of_one_job_in_parallel_make_one_execution(node: Fleet, laptop: Laptop) -> None:
    seed = await laptop.submit("hello")
    signed = issue(replace(seed.job, id=bytes(range(16))), node.home.identity("submitter"))
    manifest = node.home.module("hello")[1]
    answers = await asyncio.gather(*(seed.through.api.submit(signed, manifest) for _ in range(16)))
    assert sum(not answer["duplicate"] for answer in answers) == 1
    received = [item async for item in laptop.fleet.follow(seed.through, bytes(range(16)), 10)]
    assert len(received) == 2  # one receipt, one execution


async def test_other_bytes_under_the_same_id_conflict(laptop: Laptop) -> None:
    submission = await laptop.submit("hello")
    with pytest.raises(ConflictError, match="another document"):
        await laptop.submit("hello", job=submission.job.id, priority=51)
    assert len(await everything(submission)) == 1


async def test_conflict_is_not_passed_on_to_peers(fleet: Fleet) -> None:
    await mesh(fleet, "ab")
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("hello", through="a")  # one node is enough, so b never hears of it
        await everything(submission)
        with pytest.raises(ConflictError):
            await laptop.submit("hello", through="a", job=submission.job.id, type="ops", priority=51)
        assert await laptop.fleet.nodes[1].api.jobs() == []
        await everything(submission)
        assert {told.name: told.state for told in submission.executions.values()} == {"a": "done"}


async def test_higher_generation_takes_the_place_of_a_lower_one(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("slow")
    first = await laptop.submit("slow", window=window(size="1s"))
    second = replace(first.job, generation=2, window=(await laptop.submit("hello")).job.window)
    await first.through.api.submit(issue(second, node.home.identity("submitter")), b"")
    results = [item async for item in laptop.fleet.follow(first.through, first.job.id, 20)]
    cores = [result.core for result in results if isinstance(result, Result) and result.core is not None]
    assert cores[-1].generation == 2 and [core.generation for core in cores].count(2) == 1
    with pytest.raises(ConflictError, match="past 1"):
        await first.through.api.submit(issue(first.job, node.home.identity("submitter")), b"")


async def test_stop_ends_a_job_between_two_steps_with_a_receipt(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign("slow")
    running = await laptop.submit("slow", window=window(size="1s"))
    stop = issue(replace(running.job, generation=2, desired=Desired.STOP), node.home.identity("submitter"))
    results = []
    async for result in running.receipts(20):
        results.append(result)
        if len(results) == 2:
            answer = await running.through.api.submit(stop, b"")
            assert answer["execution"]["state"] == "stopped"
    assert kinds(results[-1:]) == [STOPPED] and kinds(results).count(STOPPED) == 1
    assert len(results) < 60
    notice = results[-1].receipt.notice
    assert notice is not None and notice.step == len(results) - 1  # as many steps as have receipts
    assert_chain(results)


async def test_stop_reaches_the_nodes_that_have_the_job_through_one_that_has_not(fleet: Fleet) -> None:
    await mesh(fleet, "ab", labels={"b": {"line": "3"}})
    fleet.publisher.sign("slow")
    async with fleet.laptop() as laptop:
        running = await laptop.submit("slow", through="b", type="ops", nodes={"labels": {"line": "3"}}, window=window(size="1s"))
        stop = issue(replace(running.job, generation=2, desired=Desired.STOP), fleet.home.identity("submitter"))
        await laptop.fleet.nodes[0].api.submit(stop, b"")  # to a, without the manifest, which a has not got either
        async with asyncio.timeout(10):  # the two generations took ways that form a circle, and it is not followed round and round
            results = await everything(running, wait=60)
    assert kinds(results)[-1] == STOPPED


async def test_tumbling_windows_hand_their_state_on_and_derive_a_channel_that_the_next_job_reads(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign_builtin("threshold-alarm")
    node.publisher.sign_builtin("statistics")
    params = {"high": 80, "low": 10}
    results = await laptop.run("threshold-alarm", window=window(size="5s"), params=params)
    assert_steps(results, 12)
    cores = [result.core for result in results if result.core is not None]
    assert [core.state_before for core in cores[1:]] == [core.state_after for core in cores[:-1]]
    # A sawtooth of 10 s: raised in every second window, and cleared in the one after it, by the state that it was handed.
    assert [result.summary[CHANNEL]["raised"] for result in results] == [False, True] * 6
    (after,) = await laptop.run("statistics", channels=[f"{CHANNEL}.alarm"])
    assert after.summary[f"{CHANNEL}.alarm"]["count"] == 11  # raised 6 times, cleared 5 times


async def test_chain_is_gapless_across_jobs_and_a_restart(fleet: Fleet) -> None:
    fleet.enrol("a")
    fleet.publisher.sign("hello")
    results = []
    for _ in range(2):
        await fleet.start("a")
        async with fleet.laptop() as laptop:
            for size in ("20s", "10s"):
                results += await laptop.run("hello", window=window(size=size))
        await fleet.stop("a")
    assert len(results) == 18
    assert_chain(results)


async def test_shutdown_in_mid_step_loses_and_doubles_nothing(fleet: Fleet) -> None:
    fleet.enrol("a")
    fleet.publisher.sign("slow")
    running = await fleet.start("a")
    await running.agent.measured.wait()
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("slow", window=window(size="20s"))
        await until(lambda: fleet.nodes["a"].agent._rooms.pool.status().busy == 1)
        async with asyncio.timeout(5):
            await fleet.stop("a")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        items = [item async for item in laptop.fleet.follow(laptop.fleet.nodes[0], submission.job.id, 20)]
    results = [item for item in items if isinstance(item, Result)]
    assert_steps(results, 3)
    assert_chain(results)
