"""What several scenarios do and look for."""

from __future__ import annotations

import asyncio
import inspect
import socket
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from edgenode.formats.receipt import NO_RECEIPT, ReceiptKind
from edgenode.testing import LOCALHOST, PATIENCE, Fleet, Laptop
from edgenode_sdk import Result


async def until(true: Callable[[], bool | Awaitable[bool]], seconds: float = PATIENCE) -> None:
    """Wait for what nothing announces: the state of another task, process or database."""
    async with asyncio.timeout(seconds):
        while True:
            found = true()
            if await found if inspect.isawaitable(found) else found:
                return
            await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCALHOST, 0))
        return int(probe.getsockname()[1])


async def mesh(fleet: Fleet, names: str, *, labels: Mapping[str, Mapping[str, str]] | None = None, **config: Any) -> None:
    """Start a node for each letter; each has all the others as static peers, and has met them."""
    ports = {name: free_port() for name in names}
    for name in names:
        others = [f"{LOCALHOST}:{port}" for other, port in ports.items() if other != name]
        peers = {"static": others} | config.get("peers", {})
        fleet.enrol(name, labels=(labels or {}).get(name), **(config | {"intake": {"port": ports[name]}, "peers": peers}))
    await asyncio.gather(*(fleet.start(name) for name in names))
    for name in names:
        agent = fleet.nodes[name].agent
        await until(lambda agent=agent: len(agent._table) == len(names) - 1)  # type: ignore[misc]


async def assert_alive(laptop: Laptop, **how: Any) -> None:
    """The node still runs a good job, of the guest hello, to its receipt."""
    results = await laptop.run("hello", **how)
    assert [result.receipt.summary for result in results] == [b"hello"]


def assert_steps(results: Sequence[Result], steps: int) -> None:
    """Every step of one job at one node is there, once, and ended well."""
    cores = [result.core for result in results if result.core is not None]
    assert [core.step for core in cores] == list(range(steps)), kinds(results)
    assert all(core.outcome.ok for core in cores)


def assert_chain(results: Sequence[Result], first: int = 0) -> None:
    """The receipts of one node, in any order, are an unbroken chain."""
    ordered = sorted(results, key=lambda result: result.receipt.seq)
    assert [result.receipt.seq for result in ordered] == list(range(first, first + len(ordered)))
    assert len({result.receipt.chain for result in ordered}) == 1
    prev = NO_RECEIPT
    for result in ordered:
        assert result.receipt.prev == prev or (result.receipt.seq == first > 0)
        prev = result.verified.digest


def kinds(results: Iterable[Result]) -> list[str]:
    """What each receipt tells: the outcome of a step, or kind and code of a notice."""
    return [
        result.core.outcome.kind.value
        if result.core is not None
        else f"{result.receipt.kind.value}: {result.receipt.notice.code if result.receipt.notice else ''}"
        for result in results
    ]


STOPPED = f"{ReceiptKind.STOP.value}: stopped"
