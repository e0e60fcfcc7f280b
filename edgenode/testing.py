"""Doubles for tests of edgenode and of what is built on it. Shipped with the package; production code never imports it.

    FakeClock      time that goes only where a test moves it
    Publisher      signs guests, of which a few small ones are here
    MemoryUplink   a hub that is a dictionary
    Fleet          real keys, documents, nodes and a hub in one folder, as tasks of this process or as processes of their own

``python -m edgenode.testing node|hub FOLDER`` runs one in the foreground and prints the port that it got.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgenode.agent import Agent
from edgenode.clock import Clock, SystemClock, seconds
from edgenode.files import write_document
from edgenode.formats.manifest import FRAME, Manifest
from edgenode.formats.receipt import Ack, Rejected, Stored
from edgenode.formats.trust import Role, Trust
from edgenode.hub.api import Hub
from edgenode.records import Abi, Batch, Capabilities, ClockState, Limits, digest
from edgenode.signals import until_signal
from edgenode.state import State
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue, issue_trust
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedAck, verify_ack
from edgenode_sdk import AsyncFleet, Home, Result, Submission

LOCALHOST = "127.0.0.1"
PATIENCE = 20.0  # s that anything here is waited for


class FakeClock:
    """Time that goes where a test moves it; with ``running`` it goes on by itself as well. Starts at the machine's own time."""

    def __init__(self, now_ns: int | None = None, *, state: ClockState = ClockState.SYNCHRONISED, running: bool = False) -> None:
        self._machine, self._running = SystemClock(), running
        self._began_ns = self._machine.monotonic_ns()
        self._now_ns = self._machine.now_ns() if now_ns is None else now_ns
        self._advanced_ns = 0
        self._state = state

    def now_ns(self) -> int:
        return self._now_ns + self.monotonic_ns() - self._began_ns

    def monotonic_ns(self) -> int:
        return (self._machine.monotonic_ns() if self._running else self._began_ns) + self._advanced_ns

    def state(self) -> ClockState:
        return self._state

    def advance(self, seconds: float) -> None:
        self._advanced_ns += round(seconds * 1e9)


REQUEST_AT, REPLY_AT = 4096, 256


def guest(step: str, *, memory: int = 16, more: str = "") -> bytes:
    """A ``step`` module whose edgenode_step has the WAT body ``step`` ($ptr and $len are its parameters), over ``memory`` pages."""
    return wasm(
        f"""(module
            {more}
            (memory (export "memory") {memory})
            (data (i32.const {REPLY_AT}) "\\20\\00\\00\\00\\05\\00\\00\\00hello\\00\\00\\00")
            (func (export "edgenode_alloc") (param i32) (result i32) (i32.const {REQUEST_AT}))
            (func (export "edgenode_step") (param $ptr i32) (param $len i32) (result i64) {step}))"""
    )


def wasm(wat: str) -> bytes:
    import wasmtime  # only here: an agent's process never loads the engine

    return bytes(wasmtime.wat2wasm(wat))


REPLY = f"(i64.const {REPLY_AT << 32 | 16})"  # the summary "hello"


def burning(turns: int) -> str:
    """A body that answers after this many turns of a loop, of about 10 fuel and 1 ns each."""
    return f"""(local $i i64)
        (loop $again
            (local.set $i (i64.add (local.get $i) (i64.const 1)))
            (br_if $again (i64.lt_u (local.get $i) (i64.const {turns}))))
        {REPLY}"""


GUESTS: Mapping[str, Callable[[], bytes]] = {
    "hello": lambda: guest(REPLY),
    "slow": lambda: guest(burning(300_000_000)),  # some 0.2 s
    "endless": lambda: guest("(loop (br 0)) (unreachable)"),
    "trap": lambda: guest("(unreachable)"),
    "overflow": lambda: guest(f"(call $deeper) {REPLY}", more="(func $deeper (call $deeper))"),
    "bomb": lambda: guest("(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (unreachable)"),
    "huge": lambda: guest(REPLY, memory=4096),
    "imports": lambda: guest(REPLY, more='(import "env" "now" (func (result i64)))'),
    "noise": lambda: b"this is not WebAssembly",
}


class Publisher:
    """Signs guests with the publisher's key of a laptop's folder, and puts them there, ready to be submitted by name."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def manifest(self, name: str, binary: bytes, **changes: Any) -> Manifest:
        described: dict[str, Any] = {
            "module": digest(binary),
            "size": max(8, len(binary)),
            "name": name,
            "version": "1",
            "sequence": 1,
            "abi": Abi.STEP,
            "input": FRAME,
            "output": "application/octet-stream",
            "capabilities": Capabilities(channels=("*",), summary=64, share_snapshot=True),
            "limits": Limits(fuel=10_000_000_000, memory=1 << 20),
            "issued": seconds(self._home.clock),
        }
        return Manifest(**(described | changes))

    def sign(self, name: str, binary: bytes | None = None, *, by: Identity | None = None, **changes: Any) -> tuple[bytes, bytes]:
        """(wasm, signed manifest) of these bytes or of the guest of this name; ``changes`` are to the manifest's fields."""
        binary = GUESTS[name]() if binary is None else binary
        manifest = issue(self.manifest(name, binary, **changes), by or self._home.identity(Role.PUBLISHER.value))
        self._home.put_module(name, binary, manifest)
        return binary, manifest

    def sign_builtin(self, name: str) -> tuple[bytes, bytes]:
        """The same of a module that comes with edgenode."""
        from edgenode_sdk import modules

        binary, manifest = modules.load(modules.find(name), seconds(self._home.clock))
        signed = issue(manifest, self._home.identity(Role.PUBLISHER.value))
        self._home.put_module(name, binary, signed)
        return binary, signed


class MemoryUplink:
    """A hub that is a dictionary: an ``edgenode.uplink.uplink.Uplink``. ``refuse`` says what it will never store."""

    def __init__(self, node: bytes, hub: Identity, keyring: Keyring, clock: Clock, refuse: Callable[[bytes], bool] = lambda data: False):
        self.stored: dict[tuple[bytes, int], bytes] = {}
        self._node, self._hub, self._keyring, self._clock, self._refuse = node, hub, keyring, clock, refuse

    async def deliver(self, batch: Batch) -> VerifiedAck:
        stored, rejected = [], []
        for one in batch.receipts:
            if self._refuse(one.data):
                rejected.append(Rejected(seq=0, digest=one.digest, code="malformed"))  # it could not read which one this is
            else:
                self.stored[batch.chain, one.seq] = one.data
                stored.append(Stored(seq=one.seq, digest=one.digest))
        now = seconds(self._clock)
        ack = Ack(node=self._node, chain=batch.chain, issued=now, stored=tuple(stored), rejected=tuple(rejected))
        return verify_ack(issue(ack, self._hub), self._keyring, now, hub=self._hub.public)

    async def close(self) -> None:
        pass


RECORDED = 1_795_400_000  # s: when the samples of every node begin
RECORDED_SAMPLES, RECORDED_MS = 600, 100
CHANNEL = "press/value"


def recording(folder: Path) -> Path:
    """A CSV of one minute of the channel ``press/value``, in Cel: six times 0, 1, … 99, a sample each 100 ms."""
    path = folder / "press.csv"
    rows = [f"{RECORDED + row // 10}.{row % 10},{row % 100}" for row in range(RECORDED_SAMPLES)]
    path.write_text("\n".join(["time,value", *rows]) + "\n")
    return path


class Running:
    """A node in this process."""

    def __init__(self, agent: Agent, task: asyncio.Task[None]) -> None:
        self.agent, self.task = agent, task

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self.agent.port}"

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])
        if not self.task.cancelled() and (error := self.task.exception()):
            raise error


class Fleet:
    """A fleet in one folder. ``home`` is the laptop; nodes and hub are beside it. Leaving it stops and checks what still runs."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder, self.clock = folder, clock or SystemClock()
        self.home = Home.create(folder / "home", self.clock)
        self.publisher = Publisher(self.home)
        self.nodes: dict[str, Running] = {}
        self._processes: list[Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for process in self._processes:
            await process.kill()
        await asyncio.gather(*(self.stop(name) for name in list(self.nodes)))

    # the registrar's and the root's work

    def enrol(self, name: str, *, labels: Mapping[str, str] | None = None, **config: Any) -> Path:
        """A node's state folder with a key, documents and a configuration, whose tables ``config`` is laid over."""
        state = State.create(self.folder / name)
        write_document(state.node, self.home.enrol(state.identity().public, name, labels or {}))
        write_document(state.trust, self.home.trust_data())
        press = {"driver": "replay", "path": str(recording(state.folder)), "speed": 0.0}
        press["columns"] = {"value": {"channel": "value", "unit": "Cel"}}
        basis = {"intake": {"host": LOCALHOST, "port": 0}, "peers": {"mdns": False}, "sources": {"press": press}}
        configure(state.folder / "edgenode.toml", _laid_over({"name": name, **basis}, config))
        return state.folder

    def enrol_hub(self, port: int = 0) -> Path:
        state = State.create(self.folder / "hub")
        self.home.grant(Role.HUB, state.identity().public, "hub")
        configure(state.folder / "hub.toml", {"name": "hub", "intake": {"host": LOCALHOST, "port": port}})
        self.publish()
        return state.folder

    def uplink(self, port: int) -> dict[str, Any]:
        """The configuration of an uplink to this fleet's hub, which must be enrolled."""
        key = State(self.folder / "hub").identity().public.hex()
        return {"hub": {"url": f"https://{LOCALHOST}:{port}", "key": key, "backoff_seconds": 0.05, "backoff_most": 0.2}}

    def publish(self, **changes: Any) -> Keyring:
        """Sign the next version of the trust document, and put it on every device; those that run in this process take it at once."""
        current = self.home.trust().trust
        fields = {name: getattr(current, name) for name in Trust.__dataclass_fields__}
        trust = Trust(**(fields | {"version": current.version + 1} | changes))
        data = issue_trust(trust, [self.home.identity("root")])
        for path in (self.home.trust_path, *(folder / "trust.cbor" for folder in self.folder.iterdir() if (folder / "key.pem").exists())):
            write_document(path, data)
        keyring = Keyring(trust)
        for running in self.nodes.values():
            running.agent._keyring = keyring  # as a node that fetches a newer one will do
        return keyring

    # running

    async def start(self, name: str) -> Running:
        """Run an enrolled node as a task. Raises what keeps it from starting."""
        agent = Agent(self.folder / name, self.clock)
        task = asyncio.create_task(agent.run(), name=f"node {name}")
        started = asyncio.create_task(agent.started.wait())
        await asyncio.wait({task, started}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            started.cancel()
            await task
        self.nodes[name] = Running(agent, task)
        return self.nodes[name]

    async def stop(self, name: str) -> None:
        await self.nodes.pop(name).stop()

    async def spawn(self, name: str) -> Process:
        """Run a node, or the hub, as a process of its own, which takes calls when this returns."""
        process = await Process.start("hub" if name == "hub" else "node", self.folder / name)
        self._processes.append(process)
        return process

    # the laptop's work

    @contextlib.asynccontextmanager
    async def laptop(self, *addresses: str) -> AsyncIterator[Laptop]:
        """A laptop that knows these nodes; without any, all that run in this process."""
        known = addresses or tuple(running.address for running in self.nodes.values())
        async with await AsyncFleet.connect(*known, home=self.home) as reached:
            yield Laptop(reached)


class Laptop:
    """What a person does with a fleet, in short."""

    def __init__(self, fleet: AsyncFleet) -> None:
        self.fleet = fleet

    async def submit(self, module: str, *, through: str | None = None, job: bytes | None = None, **spec: Any) -> Submission:
        """A job over the whole recording, unless ``spec`` says something else."""
        return await self.fleet.submit({"module": module, "channels": [CHANNEL], "window": window()} | spec, through=through, job=job)

    async def run(self, module: str, **how: Any) -> list[Result]:
        """Submit a job, and wait until it is over everywhere; its verified receipts."""
        return await everything(await self.submit(module, **how))


async def everything(submission: Submission, wait: float = PATIENCE) -> list[Result]:
    return [result async for result in submission.receipts(wait)]


def window(seconds: float = RECORDED_SAMPLES * RECORDED_MS / 1000, *, size: str | None = None) -> dict[str, Any]:
    """The first ``seconds`` of the recording, as a job file has it; with ``size`` in tumbling windows."""
    from datetime import UTC, datetime

    start, end = (datetime.fromtimestamp(RECORDED + after, UTC).isoformat() for after in (0.0, seconds))
    return {"start": start, "end": end} | ({} if size is None else {"size": size})


class Process:
    """A node or a hub in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process, self.port = process, port

    @property
    def address(self) -> str:
        return f"{LOCALHOST}:{self.port}"

    @classmethod
    async def start(cls, kind: str, folder: Path, *, prefix: tuple[str, ...] = ()) -> Self:
        """Wait until it takes calls. Raises RuntimeError with what it said when it ends before."""
        command = [*prefix, sys.executable, "-m", "edgenode.testing", kind, str(folder)]
        with (folder / f"{kind}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=log)
        if process.stdout is None:
            raise RuntimeError("no pipe")
        port = await asyncio.wait_for(process.stdout.readline(), PATIENCE)
        if not port:
            await process.wait()
            raise RuntimeError((folder / f"{kind}.log").read_text())
        return cls(process, int(port))

    async def kill(self) -> None:
        """As a power cut would."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


def configure(path: Path, tables: Mapping[str, Any]) -> None:
    """Write a configuration of nested tables as TOML."""
    path.write_text("".join(_toml(tables, ())), encoding="utf-8")


def _toml(table: Mapping[str, Any], where: tuple[str, ...]) -> list[str]:
    lines = [f"[{'.'.join(where)}]\n"] if where else []
    lines += [f"{name} = {json.dumps(value)}\n" for name, value in table.items() if not isinstance(value, Mapping)]
    for name, value in table.items():
        if isinstance(value, Mapping):
            lines += _toml(value, (*where, name))
    return lines


def _laid_over(basis: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(basis)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = _laid_over(below, value) if isinstance(value, Mapping) and isinstance(below, Mapping) else value
    return merged


async def _foreground(kind: str, folder: Path) -> None:
    if kind == "hub":
        hub = Hub(folder, SystemClock())
        async with until_signal():
            await hub.start()
            print(hub.port, flush=True)
            await asyncio.Event().wait()
        await hub.stop()
        return
    agent = Agent(folder)

    async def tell() -> None:
        await agent.started.wait()
        print(agent.port, flush=True)

    async with until_signal(), asyncio.TaskGroup() as group:
        group.create_task(tell())
        group.create_task(agent.run())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    asyncio.run(_foreground(sys.argv[1], Path(sys.argv[2])))
