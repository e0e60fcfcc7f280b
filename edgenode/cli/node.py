"""``edgenode node``: set up and run a node, and look at those on the network."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgenode.cli.options import (
    PATH,
    begin_log,
    home_option,
    interface_option,
    json_option,
    log_option,
    patience_option,
    public_key,
    state_option,
)

if TYPE_CHECKING:
    from edgenode.agent import Agent
    from edgenode.cli.reach import Reach
    from edgenode.errors import EdgenodeError
    from edgenode.formats.reading import Reading
    from edgenode_sdk.fleet import AsyncFleet, FleetNode


@click.group()
def command() -> None:
    """Set up a node, run it, and look at the nodes on the network.

    \b
    Example:
      edgenode node init --state /var/lib/edgenode --name press-7 --trust trust.cbor
      edgenode node run --state /var/lib/edgenode
    """


@command.command("init")
@state_option("node")
@click.option("--name", required=True, help="As in a host name: lower-case letters, digits and hyphens.")
@click.option("--trust", type=PATH, help="The fleet's trust.cbor.")
@click.option(
    "--source", "sources", multiple=True, default=("host",), show_default=True, help="A driver to read with its defaults; may be repeated."
)
@click.option("--interval", type=click.IntRange(min=1), default=1000, show_default=True, help="Milliseconds between readings.")
@click.option("--host", default="0.0.0.0", show_default=True, help="Listen at this address.")  # noqa: S104 - every call is authenticated
@click.option("--port", type=click.IntRange(0, 65535), default=7420, show_default=True, help="0: any.")
@click.option("--interface", "interfaces", multiple=True, metavar="ADDRESS", help="Announce at this address of mine only; may be repeated.")
@click.option("--peer", "peers", multiple=True, metavar="HOST:PORT", help="A peer for networks without multicast; may be repeated.")
@click.option("--no-mdns", is_flag=True, help="Neither announce this node nor look for others.")
@click.option("--hub", metavar="HOST:PORT", help="Where receipts go.")
@click.option("--hub-key", type=public_key, metavar="KEY", help="That hub's public key.")
@json_option
def init(
    state: Path,
    name: str,
    trust: Path | None,
    sources: tuple[str, ...],
    interval: int,
    host: str,
    port: int,
    interfaces: tuple[str, ...],
    peers: tuple[str, ...],
    no_mdns: bool,
    hub: str | None,
    hub_key: bytes | None,
    as_json: bool,
) -> None:
    """Make a state folder with a key of its own and a commented edgenode.toml.

    \b
    Example:
      edgenode node init --state /var/lib/edgenode --name press-7 --trust trust.cbor \\
        --hub hub.local:7430 --hub-key 5f0c…e1
    """
    from edgenode.cli import setup
    from edgenode.cli.output import write_json
    from edgenode.clock import SystemClock
    from edgenode.config import NodeConfig, SourceConfig
    from edgenode.sensors import registry

    if (hub is None) != (hub_key is None):
        raise click.UsageError("--hub and --hub-key go together")
    for source in sources:
        registry.build(source, SourceConfig(driver=source), SystemClock())  # raises ConfigError for one that needs options, or is none
    text = setup.node_config(
        name=name,
        host=host,
        port=port,
        mdns=not no_mdns,
        interfaces=interfaces,
        static=peers,
        sources=sources,
        interval=interval,
        hub=(hub, hub_key.hex()) if hub and hub_key else None,
    )
    key = setup.create(state, setup.NODE_FILE, NodeConfig, text, trust)
    if as_json:
        write_json({"name": name, "key": key.public.hex(), "state": str(state), "config": str(state / setup.NODE_FILE)})
        return
    click.echo(f"node {name} in {state}, key {key.public.hex()}")
    click.echo("next, on the laptop that holds the fleet:")
    click.echo(f"  edgenode fleet enrol {key.public.hex()} --name {name} -o node.cbor")
    missing = "node.cbor" if trust else "node.cbor and the fleet's trust.cbor"
    click.echo(f"then put {missing} into {state}, and here:")
    click.echo(f"  edgenode node run --state {state}")


@command.command("run")
@state_option("node")
@log_option
def run(state: Path, log_level: str) -> None:
    """Run the node in this process until SIGTERM or SIGINT. Once it takes calls, stdout gets one line of JSON: ready, port, key.

    \b
    Example:
      edgenode node run --state /var/lib/edgenode
    """
    from edgenode.agent import Agent

    begin_log(log_level)
    asyncio.run(_run(Agent(state)))


async def _run(agent: Agent) -> None:
    from edgenode.cli.output import write_json
    from edgenode.signals import until_signal

    async def tell() -> None:
        await agent.started.wait()
        card = agent.card()
        write_json({"ready": True, "kind": "node", "name": card["name"], "port": agent.port, "key": card["key"]})

    telling = asyncio.create_task(tell())
    try:
        async with until_signal():
            await agent.run()
    finally:
        telling.cancel()


@command.command("status")
@click.argument("addresses", nargs=-1, metavar="[ADDRESS]...")
@click.option("--discover", is_flag=True, help="Ask every node that mDNS finds; so it is without an ADDRESS.")
@interface_option
@patience_option
@home_option
@json_option
def status(
    addresses: tuple[str, ...], discover: bool, interfaces: tuple[str, ...], patience: float, home: Path | None, as_json: bool
) -> None:
    """Ask nodes how they are: trust, peers, sources, workers, outbox.

    \b
    Example:
      edgenode node status 192.168.1.20:7420
    """
    from edgenode.cli.reach import Reach
    from edgenode_sdk.home import Home

    if discover and addresses:
        raise click.UsageError("either an ADDRESS or --discover")
    asyncio.run(_status(Reach(Home(home), addresses, interfaces, patience), as_json))


async def _status(reach: Reach, as_json: bool) -> None:
    from edgenode.cli.output import write_facts, write_json
    from edgenode.errors import EdgenodeError
    from edgenode.formats import document
    from edgenode_sdk.reading import readings

    async with reach.fleet() as fleet:
        told = await fleet.ask(lambda api: api.status())
        read = readings(fleet, told)
    if as_json:
        shown = {name: {"error": one.what} if isinstance(one, EdgenodeError) else document.to_json(one) for name, one in read.items()}
        write_json({name: shown[name] if isinstance(one, EdgenodeError) else one | {"reading": shown[name]} for name, one in told.items()})
        return
    for at, (name, one) in enumerate(told.items()):
        if at:
            click.echo()
        write_facts({"node": name, "error": one.what} if isinstance(one, EdgenodeError) else _facts(one, _fuel(read[name])))


def _fuel(reading: Reading | EdgenodeError) -> str:
    from edgenode.cli.output import rate_text, time_text
    from edgenode.formats.reading import Reading

    if not isinstance(reading, Reading):
        return reading.what
    measured = time_text(reading.issued * 10**9)
    workers = "1 worker" if reading.workers == 1 else f"{reading.workers} workers"
    return f"{rate_text(reading.fuel_per_second)}/s {reading.mode}, {workers}, measured {measured}, signed"


def _sandbox(workers: dict[str, Any]) -> str:
    given_up = workers["confinement"]
    landlock = f"Landlock {given_up['landlock']}" if given_up["landlock"] else "no Landlock in this kernel"
    seccomp = "seccomp" if given_up["seccomp"] else "no seccomp in this kernel"
    return ", ".join([workers["mode"], landlock, seccomp, *["no new code"] * given_up["no_new_code"]])


def _facts(told: dict[str, Any], fuel: str) -> dict[str, object]:
    sources = told["sources"]
    uplinks = told["uplinks"]
    return {
        "node": told["name"],
        "key": told["key"],
        "version": f"{told['version']}, engine {told['engine']}",
        "up": f"{told['uptime_s']} s, clock {told['clock']}",
        "trust": f"version {told['trust']['version']}, {told['trust']['state']}",
        "mdns": told["mdns"],
        "peers": ", ".join(f"{peer['name']} ({peer['address']}, {peer['found_by']})" for peer in told["peers"]) or "none",
        "jobs open": told["jobs_open"],
        "workers": f"{len(told['workers']['pids'])}, {told['workers']['busy']} busy, {told['workers']['restarts']} replaced",
        "sandbox": _sandbox(told["workers"]),
        "fuel": fuel,
        "sources": ", ".join(f"{name} {one['state']}, {one['samples']} samples" for name, one in sources.items()) or "none",
        "outbox": f"{told['outbox']['waiting']} waiting, {told['outbox']['rejected']} rejected",
        "uplinks": ", ".join(f"{name}: {value}" for one in uplinks for name, value in one.items()) or "none",
        "last error": told["last_error"] or "none",
    }


@command.command("list")
@click.option("--once", is_flag=True, help="One table after --patience, not a live one. So it is with --json, or when piped.")
@interface_option
@click.option("--patience", type=click.FloatRange(min=0.1), default=2.0, show_default=True, help="Seconds to look, for one table.")
@home_option
@json_option
def list_nodes(once: bool, interfaces: tuple[str, ...], patience: float, home: Path | None, as_json: bool) -> None:
    """The fleet's nodes that mDNS finds, each with the key that it proved: a live table until Ctrl-C.

    \b
    Example:
      edgenode node list --json
    """
    from edgenode.cli.reach import Reach
    from edgenode_sdk.home import Home

    reach = Reach(Home(home), (), interfaces, patience)
    if as_json or once or not sys.stdout.isatty():
        asyncio.run(_list(reach, as_json))
    else:
        asyncio.run(_watch(reach))


async def _list(reach: Reach, as_json: bool) -> None:
    from edgenode.cli.output import write_json, write_table
    from edgenode_sdk.fleet import AsyncFleet

    async with await AsyncFleet.discover(reach.home, interfaces=reach.interfaces, patience=reach.patience, settle=reach.patience) as fleet:
        if as_json:
            write_json(
                {
                    "nodes": [_node_json(node) for node in fleet.nodes],
                    "unmet": [{"address": address, "reason": error.what} for address, error in fleet.unmet],
                }
            )
        else:
            write_table(*_table(fleet))


async def _watch(reach: Reach) -> None:
    from rich.live import Live
    from rich.text import Text

    from edgenode.cli.output import table_lines
    from edgenode_sdk.fleet import AsyncFleet

    def picture(fleet: AsyncFleet) -> Text:
        return Text("\n".join(table_lines(*_table(fleet))), no_wrap=True)

    with Live(Text("looking …"), auto_refresh=False) as live:
        async with AsyncFleet.watching(reach.home, interfaces=reach.interfaces) as (fleet, changed):
            while True:
                live.update(picture(fleet), refresh=True)
                changed.clear()
                await changed.wait()


def _table(fleet: AsyncFleet) -> tuple[list[str], list[list[object]]]:
    rows: list[list[object]] = [[node.node.name, node.address, _labels(node), node.node.public_key.hex()] for node in fleet.nodes]
    rows += [["?", address, error.what, ""] for address, error in fleet.unmet]
    return ["node", "address", "labels", "key"], rows


def _labels(node: FleetNode) -> str:
    return ",".join(f"{label.name}={label.value}" for label in node.node.labels)


def _node_json(node: FleetNode) -> dict[str, Any]:
    return {
        "name": node.node.name,
        "key": node.node.public_key.hex(),
        "address": node.address,
        "labels": {label.name: label.value for label in node.node.labels},
    }
