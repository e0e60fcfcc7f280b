"""``edgenode demo``: the whole line on one machine, nothing faked.

keys -> state folders -> hub and nodes (processes) -> discover -> sign module -> submit through one node
                                                                                      |
table, comparison  <-- receipts at the hub <-- uplink -- every node, over its own <---+
                   <-- receipts streamed back, verified here --'   host sensors
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from edgenode.cli import exits, multicast
from edgenode.cli.children import Child, Children
from edgenode.cli.options import FOLDER, json_option
from edgenode.cli.output import brief, window_text, write_json, write_table
from edgenode.errors import ConfigError, EdgenodeError, StorageError, UnreachableError
from edgenode.files import write_document
from edgenode.formats.trust import Role
from edgenode.signals import until_signal
from edgenode.transport.node_api import NodeApi, ReceiptItem
from edgenode_sdk import hub as hubs
from edgenode_sdk import modules
from edgenode_sdk.fleet import AsyncFleet, FleetNode, Submission
from edgenode_sdk.home import Home
from edgenode_sdk.result import Result

READ_MS = 100  # between readings of each node's host sensors
POLLS = 15  # that each node has before the job comes
WINDOW = "2s"
DISCOVER_SECONDS = 8.0
READY_SECONDS = 10.0  # for peers to meet, and sensors to be read
RECEIPT_SECONDS = 10.0
HUB_SECONDS = 10.0
ASK_SECONDS = 0.1  # between questions


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    nodes: int
    interface: str
    multicast: bool
    keep: bool
    as_json: bool


@dataclass(slots=True)
class Timings:
    """Seconds from the start of the demo to the end of each stage."""

    began: float = field(default_factory=time.monotonic)
    ends: dict[str, float] = field(default_factory=dict)

    def mark(self, stage: str) -> None:
        self.ends[stage] = round(time.monotonic() - self.began, 3)


@dataclass(frozen=True, slots=True)
class Floor:
    """What runs: a hub and nodes, and the laptop's folder beside them."""

    folder: Path
    home: Home
    hub: Child
    nodes: tuple[Child, ...]
    interface: str

    @property
    def hub_address(self) -> str:
        return f"{self.interface}:{self.hub.ready['port']}"

    @property
    def hub_key(self) -> bytes:
        return bytes.fromhex(self.hub.ready["key"])

    @property
    def addresses(self) -> list[str]:
        return [f"{self.interface}:{node.ready['port']}" for node in self.nodes]


@click.command("demo")
@click.option("--nodes", type=click.IntRange(1, 32), default=3, show_default=True, help="How many.")
@click.option("--keep", is_flag=True, help="Stay up until Ctrl-C, and print addresses and commands to try.")
@click.option("--interface", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="This machine's address to use.")
@click.option("--state", type=FOLDER, help="Keep keys and state folders here; it must be empty.  [default: a folder that goes at the end]")
@click.option("--no-multicast", is_flag=True, help="Do without mDNS: nodes know each other by the peers of their configuration.")
@json_option
def command(nodes: int, keep: bool, interface: str, state: Path | None, no_multicast: bool, as_json: bool) -> int:
    """Run a hub and three nodes on this machine, each a process with a key it made itself; sign a module, submit a job through one
    node, and verify the receipt of each. The receipts that come back are compared, byte for byte, with those that the hub stored.

    \b
    Example:
      edgenode demo
      edgenode demo --nodes 5 --keep

    Exits with 1 when a receipt is missing or differs.
    """
    able = not no_multicast and multicast.works(interface)
    options = Options(nodes=nodes, interface=interface, multicast=able, keep=keep, as_json=as_json)
    if not able:
        _say(options, f"multicast is {'off' if no_multicast else f'not available on {interface}'}: nodes know each other by configuration")
    with _folder(state) as folder:
        return asyncio.run(_until_signal(folder, options))


async def _until_signal(folder: Path, options: Options) -> int:
    shown = asyncio.Event()
    code = exits.INTERRUPTED
    async with until_signal():
        code = await _demo(folder, options, shown)
    return exits.OK if shown.is_set() and code == exits.INTERRUPTED else code


async def _demo(folder: Path, options: Options, shown: asyncio.Event) -> int:
    timings = Timings()
    async with Children(folder) as children:
        floor = await _set_up(folder, options, children, timings)
        async with await _meet(floor, options) as fleet:
            timings.mark("discovered")
            _say(options, f"found {', '.join(f'{node.node.name} at {node.address}' for node in fleet.nodes)}")
            through = await _wait_until_ready(fleet, floor)
            timings.mark("nodes_ready")
            submission, results = await _run_job(fleet, floor, through)
            timings.mark("receipts_verified")
            held = await _ask_hub(floor, submission, len(results))
            timings.mark("hub_compared")
        complaints = list(_complaints(floor, submission, results, held))
        _tell(options, floor, fleet.nodes, submission, results, held, timings, complaints)
        if options.keep and not complaints:
            _tell_kept(options, floor, submission)
            shown.set()
            await asyncio.Event().wait()
        return exits.FAILED if complaints else exits.OK


# stages


async def _set_up(folder: Path, options: Options, children: Children, timings: Timings) -> Floor:
    """Keys made where they will stay, documents signed for them, and the processes started."""
    home = Home.create(folder / "laptop")
    names = [f"node-{number}" for number in range(1, options.nodes + 1)]
    ports = _free_ports(options.interface, 1 + len(names))
    hub_state = folder / "hub"
    hub = await children.run("hub", "hub", "init", "--state", str(hub_state), "--name", "hub", *_at(options, ports[0]), "--json")
    home.grant(Role.HUB, bytes.fromhex(hub["key"]), "hub")
    write_document(hub_state / "trust.cbor", home.trust_data())

    async def enrol(name: str, port: int) -> Path:
        state = folder / name
        peers = [f"{options.interface}:{other}" for other in ports[1:] if other != port]
        found_by = (
            ["--interface", options.interface]
            if options.multicast
            else ["--no-mdns", *(word for peer in peers for word in ("--peer", peer))]
        )
        made = await children.run(
            name,
            *("node", "init", "--state", str(state), "--name", name, *_at(options, 0 if options.multicast else port)),
            *("--trust", str(home.trust_path), "--interval", str(READ_MS), *found_by),
            *("--hub", f"{options.interface}:{ports[0]}", "--hub-key", hub["key"], "--json"),
        )
        write_document(state / "node.cbor", home.enrol(bytes.fromhex(made["key"]), name, {"floor": "demo"}))
        return state

    async def run(kind: str, state: Path) -> Child:
        return await children.start(state.name, kind, "run", "--state", str(state), "--log-level", "warning")

    starting_hub = asyncio.create_task(run("hub", hub_state))
    states = await asyncio.gather(*(enrol(name, port) for name, port in zip(names, ports[1:], strict=True)))
    timings.mark("set_up")
    hub_child, *nodes = await asyncio.gather(starting_hub, *(run("node", state) for state in states))
    timings.mark("started")
    _say(options, f"hub and {len(nodes)} nodes run, each with a key it made itself")
    modules.sign("statistics", home)
    return Floor(folder, home, hub_child, tuple(nodes), options.interface)


async def _meet(floor: Floor, options: Options) -> AsyncFleet:
    """Find the nodes: by mDNS, or at their addresses where there is none. Raises UnreachableError when one is missing."""
    wanted = len(floor.nodes)
    if options.multicast:
        fleet = await AsyncFleet.discover(floor.home, interfaces=[options.interface], least=wanted, patience=DISCOVER_SECONDS, settle=0.05)
    else:
        fleet = await AsyncFleet.connect(*floor.addresses, home=floor.home)
    if len(fleet.nodes) < wanted:
        await fleet.close()
        met = ", ".join(node.node.name for node in fleet.nodes) or "none"
        raise UnreachableError(f"{wanted} nodes run, and {len(fleet.nodes)} of them were found ({met})", hint="try --no-multicast")
    return fleet


async def _wait_until_ready(fleet: AsyncFleet, floor: Floor) -> FleetNode:
    """Wait until every node has read its sensors; give a node that has met all the others."""
    deadline = time.monotonic() + READY_SECONDS
    while True:
        told = await fleet.ask(NodeApi.status)
        statuses = {name: one for name, one in told.items() if not isinstance(one, EdgenodeError)}
        read = [one for one in statuses.values() if one["sources"]["host"]["polls"] >= POLLS]
        knowing = [node for node in fleet.nodes if len(statuses.get(node.node.name, {}).get("peers", ())) == len(floor.nodes) - 1]
        if len(read) == len(floor.nodes) and knowing:
            return knowing[0]
        if time.monotonic() > deadline:
            peers = ", ".join(f"{name} {len(one['peers'])}" for name, one in statuses.items())
            raise UnreachableError(
                f"no node has met all the others in {READY_SECONDS:g} s (peers met: {peers})", hint=f"logs: {floor.folder}"
            )
        await asyncio.sleep(ASK_SECONDS)


async def _run_job(fleet: AsyncFleet, floor: Floor, through: FleetNode) -> tuple[Submission, list[Result]]:
    """Submit through one node; every receipt that comes back through it, verified."""
    job = {"module": "statistics", "type": "ops", "channels": ["host/*"], "window": {"last": WINDOW}, "name": "demo"}
    submission = await fleet.submit(job, through=through.node.name)
    return submission, [result async for result in submission.receipts(RECEIPT_SECONDS)]


async def _ask_hub(floor: Floor, submission: Submission, wanted: int) -> list[ReceiptItem]:
    """What the hub has stored of the job, once that is as much as came back here or the time is over."""
    deadline = time.monotonic() + HUB_SECONDS
    while True:
        held = await hubs.receipts(floor.hub_address, floor.hub_key, submission.job.id, floor.home)
        if len(held) >= wanted or time.monotonic() > deadline:
            return held
        await asyncio.sleep(ASK_SECONDS)


def _complaints(floor: Floor, submission: Submission, results: Sequence[Result], held: Sequence[ReceiptItem]) -> Iterator[str]:
    """What is missing or differs."""
    came = {result.node.name for result in results}
    for node in floor.nodes:
        if node.name not in came:
            execution = submission.executions.get(node.ready["key"])
            yield f"no receipt of {node.name}" + (f": {execution.state} {execution.reason}" if execution else "")
    for result in results:
        if not result.ok:
            yield f"{result.node.name} ended in another outcome than ok"
    here = {(result.verified.data, result.node_document) for result in results}
    there = {(item.receipt, item.node_document) for item in held}
    if here - there:
        yield f"{len(here - there)} receipts that came back are not at the hub, byte for byte"
    if there - here:
        yield f"{len(there - here)} receipts at the hub did not come back"


# told


def _tell(
    options: Options,
    floor: Floor,
    nodes: Sequence[FleetNode],
    submission: Submission,
    results: Sequence[Result],
    held: Sequence[ReceiptItem],
    timings: Timings,
    complaints: Sequence[str],
) -> None:
    results = sorted(results, key=lambda result: result.node.name)
    if options.as_json:
        write_json(
            {
                "ok": not complaints,
                "complaints": list(complaints),
                "found_by": "mdns" if options.multicast else "static",
                "nodes": [{"name": one.node.name, "key": one.node.public_key.hex(), "address": one.address} for one in nodes],
                "hub": {"address": floor.hub_address, "key": floor.hub.ready["key"], "receipts": len(held)},
                "job": submission.id,
                "submitted_through": submission.through.node.name,
                "receipts": [{**one.to_json(), "submit_to_receipt_ms": _took_ms(one, submission)} for one in results],
                "timings_s": timings.ends,
            }
        )
        return
    _say(options, f"job {submission.id} submitted through {submission.through.node.name} alone")
    click.echo()
    write_table(
        ["node", "window", "samples", "summary", "fuel", "step ms", "submit to receipt ms"],
        [_row(result, submission) for result in results],
    )
    click.echo()
    for complaint in complaints:
        click.echo(f"error: {complaint}", err=True)
    if not complaints:
        click.echo(f"{len(results)} receipts verified here, and the hub holds the same bytes. {timings.ends['hub_compared']:.1f} s in all.")


def _row(result: Result, submission: Submission) -> list[object]:
    core, measured = result.core, result.receipt.measured
    took = f"{_took_ms(result, submission):.1f}"
    if core is None:
        return [result.node.name, "", "", result.receipt.notice and result.receipt.notice.text, "", "", took]
    window = window_text(core.window.start_ns, core.window.end_ns)
    summary = _short(result.summary) if result.ok else f"{core.outcome.kind} {core.outcome.detail}"
    return [result.node.name, window, core.completeness.received, summary, core.fuel, f"{measured.wall_ns / 1e6:.2f}", took]


def _short(summary: Any) -> str:
    """A few of the statistics that came out, for one line."""
    try:
        return f"{len(summary)} channels: cpu {summary['host/cpu']['mean']:.1%}, memory {summary['host/memory']['mean']:.1%}"
    except (KeyError, TypeError):
        return brief(summary, 40)


def _took_ms(result: Result, submission: Submission) -> float:
    return (result.received_ns - submission.submitted_ns) / 1e6


def _tell_kept(options: Options, floor: Floor, submission: Submission) -> None:
    """Addresses, and commands that work on what stays up."""
    home, node = f"--home {floor.home.folder}", f"--node {floor.addresses[0]}"
    _say(options, "")
    for child, address in zip(floor.nodes, floor.addresses, strict=True):
        _say(options, f"{child.name}  {address}  {floor.folder / child.name}")
    _say(options, f"hub     {floor.hub_address}  {floor.folder / 'hub'}")
    _say(options, "try, in another terminal:")
    _say(options, f"  edgenode node status {floor.addresses[0]} {home}")
    if options.multicast:
        _say(options, f"  edgenode node list --interface {floor.interface} {home}")
    _say(options, f"  edgenode job describe {submission.id} {node} {home}")
    _say(options, f"  edgenode job results {submission.id} {node} {home} -o receipts")
    _say(options, f"  edgenode source list --state {floor.folder / floor.nodes[0].name}")
    _say(options, f"  edgenode hub status {floor.hub_address} {home}")
    _say(options, "Ctrl-C ends all of it")


def _say(options: Options, line: str) -> None:
    """Progress: on stdout for people, on stderr where stdout is for a script."""
    click.echo(line, err=options.as_json)


# around


@contextlib.contextmanager
def _folder(state: Path | None) -> Iterator[Path]:
    if state is not None:
        try:
            state.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {state}: {error.strerror}") from error
        yield state.resolve()
        return
    folder = Path(tempfile.mkdtemp(prefix="edgenode-demo-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _at(options: Options, port: int) -> list[str]:
    return ["--host", options.interface, "--port", str(port)]


def _free_ports(address: str, count: int) -> list[int]:
    """Ports that are free now, all different: held together while they are looked for."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            try:
                one.bind((address, 0))
            except OSError as error:
                raise ConfigError(
                    f"--interface {address} is no address of this machine: {error.strerror}", hint="'ip address' shows them"
                ) from error
        return [int(one.getsockname()[1]) for one in sockets]
