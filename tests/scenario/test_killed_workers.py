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
from edgenode.records import Abi, Limits
from edgenode.sandbox.pool import Pool
from edgenode.testing import Fleet, Laptop, burning, everything, guest

from ..unit.sandbox.test_commands import program
from .steps import assert_alive, kinds, until

KILLS = int(os.environ.get("EDGENODE_KILLS", "40"))
IN_FLIGHT = 6
STEP_TURNS = 20_000_000  # some 10 ms
COMMAND_LIMITS = Limits(fuel=10_000_000_000, memory=4 << 20, files=1 << 20)
COUNT_UP = "(local.set $i (i32.add (local.get $i) (i32.const 1)))"
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
        pool = running.agent._rooms.pool
        phases = await _kill(pool, random.Random(1))
        done.set()
        async with asyncio.timeout(120):
            await asyncio.gather(*runners)
        await until(lambda: len(pool.status().pids) == 2 and pool.status().busy == 0)
        await assert_alive(laptop)
        gc.collect()
        after = _held()
    assert set(ends) <= ALLOWED, ends
    assert ends["ok"] > KILLS // 4, ends
    assert pool.status().restarts > 0
    assert set(phases) >= ({"compiling", "running"} if KILLS < 500 else {"compiling", "starting", "idle", "running"}), phases
    assert after["files"] <= before["files"] + 16 and after["threads"] <= before["threads"] + 16, (before, after)
    assert after["bytes"] < before["bytes"] + (64 << 20), (before, after)


async def _keep_running(fleet: Fleet, laptop: Laptop, done: asyncio.Event, ends: Counter[str], names: count[int]) -> None:
    """One job after another, each with a module of its own, so that the compiler always has something to do as well."""
    while not done.is_set():
        name = f"m{next(names)}"
        number = int(name[1:])
        if number % 3:
            fleet.publisher.sign(name, guest(burning(STEP_TURNS + number)))
        else:
            wasm = program(f"(local $i i32) (loop {COUNT_UP} (br_if 0 (i32.lt_u (local.get $i) (i32.const {STEP_TURNS + number}))))")
            fleet.publisher.sign(name, wasm, abi=Abi.WASI_COMMAND, input="text/csv", limits=COMMAND_LIMITS)
        try:
            submission = await laptop.submit(name)
            ended = kinds(await everything(submission))
            while not ended:  # it waits for a worker, longer each time that none could be had
                ended = kinds(await everything(submission))
        except FaultError as error:
            ended = [f"refused: {error.code}"]
        ends[ended[-1]] += 1


async def _kill(pool: Pool, chance: random.Random) -> Counter[str]:
    """Kill children of this process, each in whatever it is doing after a moment; how often each phase was met."""
    killed: Counter[str] = Counter()
    while killed.total() < KILLS:
        await asyncio.sleep(chance.uniform(0, 0.3))
        with contextlib.suppress(psutil.Error, ProcessLookupError):
            found = [(child, phase) for child in psutil.Process().children() if (phase := _phase(child, pool))]
            if found:
                child, phase = chance.choice(found)
                os.kill(child.pid, signal.SIGKILL)
                killed[phase] += 1
    return killed


def _phase(process: psutil.Process, pool: Pool) -> str:
    with contextlib.suppress(psutil.Error):
        code = " ".join(process.cmdline())
        if "edgenode.sandbox.compile import main" in code:
            return "compiling"
        if "edgenode.sandbox.worker import main" in code:
            with pool._changed:
                known = {worker.pid: worker in pool._free for worker in pool._workers}
            return {None: "starting", True: "idle", False: "running"}[known.get(process.pid)]
    return ""


def _held() -> dict[str, int]:
    process = psutil.Process()
    with process.oneshot():
        return {"files": process.num_fds(), "threads": process.num_threads(), "bytes": process.memory_info().rss}
