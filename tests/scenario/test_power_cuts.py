"""kill -9 at any moment: nothing that was accepted is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3

from edgenode.errors import EdgenodeError
from edgenode.testing import Fleet, Laptop, window
from edgenode.transport.node_api import Execution
from edgenode_sdk import Result

from .steps import assert_chain, assert_steps, free_port, until

JOBS, STEPS = 8, 6


async def test_hub_killed_in_mid_run_gets_every_receipt_once(fleet: Fleet) -> None:
    port = free_port()
    folder = fleet.enrol_hub(port)
    fleet.enrol("a", uplinks=fleet.uplink(port))
    fleet.publisher.sign("hello")
    running = await fleet.start("a")
    async with fleet.laptop() as laptop:
        hub = await fleet.spawn("hub")
        following = asyncio.create_task(laptop.run("hello", window=window(size="200ms")))
        (forwarder,) = running.agent._forwarders
        for kill_after in (5, 60, 150):
            await until(lambda most=kill_after: forwarder._sent >= most)  # type: ignore[misc]
            await hub.kill()
            hub = await fleet.spawn("hub")
        results = await following
        assert_steps(results, 300)
        await until(lambda: running.agent._outbox.waiting() == 0)
        await hub.kill()
    with contextlib.closing(sqlite3.connect(folder / "hub.db")) as database:
        stored = database.execute("SELECT seq, data FROM receipts ORDER BY seq").fetchall()
        conflicts = database.execute("SELECT count(*) FROM conflicts").fetchone()
    assert stored == [(seq, result.verified.data) for seq, result in enumerate(results)]
    assert conflicts == (0,)


async def test_node_killed_under_load_finishes_what_it_accepted_once(fleet: Fleet) -> None:
    fleet.enrol("a", intake={"port": free_port()}, sandbox={"workers": 2})
    fleet.publisher.sign("hello")
    accepted: set[bytes] = set()
    dice = random.Random(7)
    for _ in range(5):
        node = await fleet.spawn("a")
        async with fleet.laptop(node.address) as laptop:
            work = [asyncio.create_task(submit(laptop, accepted)) for _ in range(JOBS)]
            target = len(accepted) + 1
            await until(lambda target=target: len(accepted) >= target)  # type: ignore[misc]
            await asyncio.sleep(dice.uniform(0, 0.1))
            await node.kill()
            await asyncio.gather(*work)
    node = await fleet.spawn("a")
    async with fleet.laptop(node.address) as laptop:
        (reached,) = laptop.fleet.nodes
        there = {bytes.fromhex(job["job"]) for job in await reached.api.jobs()}
        assert accepted <= there  # some were accepted and the answer did not arrive
        everything: list[Result] = []
        for job in there:
            items = [item async for item in laptop.fleet.follow(reached, job, 20)]
            results = [item for item in items if not isinstance(item, Execution)]
            assert_steps(results, STEPS)
            assert len(results) == STEPS
            everything += results
    assert len(accepted) > 5
    assert_chain(everything)


async def submit(laptop: Laptop, accepted: set[bytes]) -> None:
    with contextlib.suppress(EdgenodeError):
        submission = await laptop.submit("hello", window=window(size="10s"))
        accepted.add(submission.job.id)
