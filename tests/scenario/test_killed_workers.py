"""Processes of the sandbox are killed while jobs run, in whatever they are doing: each job ends with a receipt or a reported fault.

``make torture`` kills a thousand of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
from collections import Counter
from itertools import count

import psutil

from edgenode.errors import FaultError
from edgenode.testing import Fleet, Laptop, burning, everything, guest

from .steps import assert_alive, kinds, until

KILLS = int(os.environ.get("EDGENODE_KILLS", "40"))
IN_FLIGHT = 6
STEP_TURNS = 20_000_000  # some 10 ms
ALLOWED = {"ok", "fault: worker-died", "refused: fault"}


async def test_every_job_ends_when_processes_of_the_sandbox_are_killed(fleet: Fleet) -> None:
    fleet.enrol("a", sandbox={"workers": 2, "modules_per_worker": 4})
    fleet.publisher.sign("hello")
    running = await fleet.start("a")
    await running.agent.measured.wait()  # its fuel per second, on a worker that is not to be killed for it
    async with fleet.laptop() as laptop:
        await assert_alive(laptop)
        before = _held()
        done = asyncio.Event()
        ends: Counter[str] = Counter()
        names = count()
        runners = [asyncio.create_task(_keep_running(fleet, laptop, done, ends, names)) for _ in range(IN_FLIGHT)]
        phases = await _kill(random.Random(1))
        done.set()
        async with asyncio.timeout(120):
            await asyncio.gather(*runners)
        pool = fleet.nodes["a"].agent._rooms.pool
        await until(lambda: len(pool.status().pids) == 2 and pool.status().busy == 0)
        await assert_alive(laptop)
        gc.collect()
        after = _held()
    assert set(ends) <= ALLOWED, ends
    assert ends["ok"] > KILLS // 4, ends
    assert pool.status().restarts > 0 and {"worker", "compile"} <= set(phases), phases
    assert after["files"] <= before["files"] + 16 and after["threads"] <= before["threads"] + 16, (before, after)
    assert after["bytes"] < before["bytes"] + (64 << 20), (before, after)


async def _keep_running(fleet: Fleet, laptop: Laptop, done: asyncio.Event, ends: Counter[str], names: count[int]) -> None:
    """One job after another, each with a module of its own, so that the compiler always has something to do as well."""
    while not done.is_set():
        name = f"m{next(names)}"
        fleet.publisher.sign(name, guest(burning(STEP_TURNS + hash(name) % 1000)))
        try:
            submission = await laptop.submit(name)
            ended = kinds(await everything(submission))
            while not ended:  # it waits for a worker, longer each time that none could be had
                ended = kinds(await everything(submission))
        except FaultError as error:
            ended = [f"refused: {error.code}"]
        ends[ended[-1]] += 1


async def _kill(chance: random.Random) -> Counter[str]:
    """Kill children of this process, each in whatever it is doing after a moment; what was killed how often."""
    killed: Counter[str] = Counter()
    while killed.total() < KILLS:
        await asyncio.sleep(chance.uniform(0, 0.3))
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            found = [(child, kind) for child in psutil.Process().children() if (kind := _kind(child))]
            if found:
                child, kind = chance.choice(found)
                os.kill(child.pid, signal.SIGKILL)
                killed[kind] += 1
    return killed


def _kind(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        code = " ".join(process.cmdline())
        return next((kind for kind in ("worker", "compile") if f"edgenode.sandbox.{kind} import main" in code), "")
    return ""


def _held() -> dict[str, int]:
    process = psutil.Process()
    with process.oneshot():
        return {"files": process.num_fds(), "threads": process.num_threads(), "bytes": process.memory_info().rss}
