"""Nodes among themselves: static peers, two hosts on one wire, loops, peers that go away."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from edgenode.dispatch import Dispatch
from edgenode.errors import NotSelectedError, RefusedError
from edgenode.testing import LOCALHOST, PATIENCE, Fleet, Process, everything, window

from .steps import assert_alive, free_port, kinds, mesh, until


async def test_peers_of_the_configuration_serve_where_multicast_is_off(fleet: Fleet) -> None:
    await mesh(fleet, "abc")
    status = await fleet.nodes["a"].agent.status()
    assert status["mdns"] == "off"
    assert {peer["found_by"] for peer in status["peers"]} == {"static"}
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        results = await laptop.run("hello", type="ops", through="c")
    assert sorted(result.node.name for result in results) == ["a", "b", "c"]


async def test_peers_that_relay_to_each_other_without_end_are_ended(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int | None] = []
    submit = Dispatch.submit

    async def counted(self: Dispatch, job: bytes, manifest: bytes | None, *, hops: int | None, sender: bytes) -> dict[str, object]:
        calls.append(hops)
        return await submit(self, job, manifest, hops=hops, sender=sender)

    monkeypatch.setattr(Dispatch, "submit", counted)
    await mesh(fleet, "abcd", peers={"hops": 1_000_000})
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        results = await laptop.run("hello", type="ops", through="a")
        assert len(results) == 4
        await until(lambda: not any(running.agent._dispatch._spreading for running in fleet.nodes.values()))
        taken = len(calls)
        submission = await laptop.submit("hello", through="a", type="ops", nodes={"labels": {"line": "none has it"}})
        await everything(submission)
        await until(lambda: not any(running.agent._dispatch._spreading for running in fleet.nodes.values()))
    # The laptop once (and again with the module), then each of four nodes to three others at most, each perhaps with the module.
    assert taken <= 2 + 12 + 3
    # Those that all refuse remember that they have heard of it, and pass it on once.
    assert len(calls) - taken <= 1 + 12
    assert {told.state for told in submission.executions.values()} == {"refused"}
    assert len(submission.executions) == 4


async def test_retry_by_the_node_that_brought_a_job_gets_the_same_answer(fleet: Fleet) -> None:
    await mesh(fleet, "ab")
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("hello", through="a")
        await everything(submission)
        a, b = fleet.nodes["a"].agent, fleet.nodes["b"].agent
        row = a._rooms.ledger.job(submission.job.id)
        assert row is not None
        (peer,) = a._table
        manifest, module = fleet.home.module("hello")[1], fleet.home.module("hello")[0]
        answers = [await a._relay.pass_on(peer, row.data, manifest, lambda: module, 1) for _ in range(2)]
        assert [answer["duplicate"] for answer in answers] == [False, False]
        assert len(b._rooms.ledger.jobs(10)) == 1


async def test_peer_that_goes_away_in_mid_stream_ends_only_its_own_part(fleet: Fleet) -> None:
    await mesh(fleet, "ab")
    fleet.publisher.sign("slow")
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("slow", type="ops", through="a", window=window(size="20s"))
        results = []
        async for result in submission.receipts(PATIENCE):
            results.append(result)
            if result.node.name == "b" and "b" in fleet.nodes:
                await fleet.stop("b")
        assert kinds(result for result in results if result.node.name == "a") == ["ok"] * 3
        told = {one.name: one.state for one in submission.executions.values()}
        assert told["a"] == "done" and told["b"] in ("unreachable", "open")
        await assert_alive(laptop, through="a")


async def test_peer_that_is_met_again_keeps_its_running_streams(fleet: Fleet) -> None:
    await mesh(fleet, "ab")
    fleet.publisher.sign("slow")
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("slow", type="ops", through="a", window=window(size="20s"))
        agent, results = fleet.nodes["a"].agent, []
        async for result in submission.receipts(PATIENCE):
            results.append(result.node.name)
            if result.node.name == "b":
                await agent._relay.meet(fleet.nodes["b"].address, None, "mdns")
    assert sorted(results) == ["a", "a", "a", "b", "b", "b"]
    assert {told.name: told.state for told in submission.executions.values()} == {"a": "done", "b": "done"}


async def test_static_device_that_was_replaced_is_met_in_its_place(fleet: Fleet) -> None:
    port = free_port()
    fleet.enrol("a", peers={"static": [f"{LOCALHOST}:{port}"]})
    for name in "bc":
        fleet.enrol(name, intake={"port": port})
    await asyncio.gather(fleet.start("a"), fleet.start("b"))
    agent = fleet.nodes["a"].agent
    await until(lambda: [peer.node.name for peer in agent._table] == ["b"])
    await fleet.stop("b")
    await fleet.start("c")
    fleet.publisher.sign("hello")
    async with fleet.laptop(fleet.nodes["a"].address) as laptop:
        await laptop.run("hello", type="ops", through="a")
        await until(lambda: [peer.node.name for peer in agent._table] == ["c"])
        results = await laptop.run("hello", type="ops", through="a")
    assert sorted(result.node.name for result in results) == ["a", "c"]


async def test_refusals_of_all_are_told_and_the_job_may_be_tried_again(fleet: Fleet) -> None:
    await mesh(fleet, "ab")
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        first = await laptop.submit("hello", type="ops", channels=["later/on"])
        await everything(first)
        assert {told.state for told in first.executions.values()} == {"refused"}
        with contextlib.suppress(RefusedError):
            again = await laptop.submit("hello", type="ops", channels=["later/on"], job=first.job.id)
            await everything(again)
        await assert_alive(laptop)


def test_not_selected_is_a_refusal() -> None:
    assert issubclass(NotSelectedError, RefusedError)


HOSTS = ("10.199.77.1", "10.199.77.2")
LAPTOP = """
import asyncio, json, sys
from pathlib import Path
from edgenode_sdk import AsyncFleet, Home

async def main(home, address):
    async with await AsyncFleet.discover(Home(Path(home)), interfaces=[address], least=2, patience=15) as fleet:
        node = next(one for one in fleet.nodes if one.address.startswith(address))
        while not (await node.api.status())["peers"]:
            await asyncio.sleep(0.05)
        spec = {"module": "hello", "type": "ops", "channels": ["press/value"], "window": {"last": "24h"}}
        job = await fleet.submit(spec, through=node.node.name)
        found = [result.node.name async for result in job.receipts(15)]
        print(json.dumps({"nodes": [one.node.name for one in fleet.nodes], "receipts": sorted(found)}))

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.root
async def test_two_hosts_on_a_wire_find_each_other_and_run_a_job(fleet: Fleet) -> None:
    if shutil.which("ip") is None:
        pytest.skip("needs ip (package iproute2)")
    with wire() as namespaces:
        for name, address in zip("ab", HOSTS, strict=True):
            fleet.enrol(name, intake={"host": address}, peers={"mdns": True, "interfaces": [address]})
        fleet.publisher.sign("hello")
        inside = [("ip", "netns", "exec", namespace) for namespace in namespaces]
        nodes: list[Process] = []
        try:
            for name, prefix in zip("ab", inside, strict=True):
                nodes.append(await Process.start("node", fleet.folder / name, prefix=prefix))
            command = [*inside[0], sys.executable, "-c", LAPTOP, str(fleet.home.folder), HOSTS[0]]
            laptop = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
            told, _ = await asyncio.wait_for(laptop.communicate(), 40)
        finally:
            for node in nodes:
                await node.kill()
    assert json.loads(told) == {"nodes": ["a", "b"], "receipts": ["a", "b"]}


@contextlib.contextmanager
def wire() -> Iterator[tuple[str, str]]:
    """Two network namespaces with a cable between them, an address of HOSTS at each end."""
    names = (f"edgenode-{os.getpid()}-a", f"edgenode-{os.getpid()}-b")
    ends = (f"ena{os.getpid()}", f"enb{os.getpid()}")
    made: list[str] = []
    try:
        for name in names:
            done = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"network namespaces are not allowed here: {done.stderr.strip()}")
            made.append(name)
        ip("link", "add", ends[0], "netns", names[0], "type", "veth", "peer", "name", ends[1], "netns", names[1])
        for name, end, address in zip(names, ends, HOSTS, strict=True):
            ip("-n", name, "address", "add", f"{address}/24", "dev", end)
            ip("-n", name, "link", "set", "lo", "up")
            ip("-n", name, "link", "set", end, "up")
        yield names
    finally:
        for name in made:
            subprocess.run(["ip", "netns", "delete", name], check=True)


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
