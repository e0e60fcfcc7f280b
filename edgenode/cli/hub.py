"""``edgenode hub``: set up and run a hub, and ask it what it holds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edgenode.cli.options import PATH, begin_log, home_option, json_option, log_option, public_key, state_option
from edgenode.cli.output import time_text, write_facts, write_json, write_table

if TYPE_CHECKING:
    from edgenode.hub.api import Hub


@click.group()
def command() -> None:
    """Set up a hub, where receipts go, run it, and ask it what it holds.

    \b
    Example:
      edgenode hub init --state hub --name hub --trust trust.cbor
      edgenode hub run --state hub
    """


@command.command("init")
@state_option("hub")
@click.option("--name", required=True, help="As in a host name: lower-case letters, digits and hyphens.")
@click.option("--trust", type=PATH, help="The fleet's trust.cbor.")
@click.option("--host", default="0.0.0.0", show_default=True, help="Listen at this address.")  # noqa: S104 - every call is authenticated
@click.option("--port", type=click.IntRange(0, 65535), default=7430, show_default=True, help="0: any.")
@json_option
def init(state: Path, name: str, trust: Path | None, host: str, port: int, as_json: bool) -> None:
    """Make a state folder with a key of its own and a commented hub.toml.

    \b
    Example:
      edgenode hub init --state /var/lib/edgenode-hub --name hub --trust trust.cbor
    """
    from edgenode.cli import setup
    from edgenode.config import HubConfig

    text = setup.hub_config(name=name, host=host, port=port)
    key = setup.create(state, setup.HUB_FILE, HubConfig, text, trust)
    if as_json:
        write_json({"name": name, "key": key.public.hex(), "state": str(state), "config": str(state / setup.HUB_FILE)})
        return
    click.echo(f"hub {name} in {state}, key {key.public.hex()}")
    click.echo("next, on the laptop that holds the fleet:")
    click.echo(f"  edgenode fleet grant hub {key.public.hex()} --name {name}")
    click.echo(f"then put the new trust.cbor into {state}, and here:")
    click.echo(f"  edgenode hub run --state {state}")


@command.command("run")
@state_option("hub")
@log_option
def run(state: Path, log_level: str) -> None:
    """Run the hub in this process until SIGTERM or SIGINT. Once it takes calls, stdout gets one line of JSON: ready, port, key.

    \b
    Example:
      edgenode hub run --state /var/lib/edgenode-hub
    """
    from edgenode.clock import SystemClock
    from edgenode.hub.api import Hub

    begin_log(log_level)
    asyncio.run(_run(Hub(state, SystemClock())))


async def _run(hub: Hub) -> None:
    from edgenode.signals import until_signal

    async with until_signal():
        await hub.start()
        try:
            write_json({"ready": True, "kind": "hub", "port": hub.port, "key": hub.public_key.hex()})
            await asyncio.Event().wait()
        finally:
            await hub.stop()


@command.command("status")
@click.argument("address", default="127.0.0.1:7430")
@click.option("--key", type=public_key, metavar="KEY", help="The hub's public key: the connection is pinned to it.")
@home_option
@json_option
def status(address: str, key: bytes | None, home: Path | None, as_json: bool) -> None:
    """Ask the hub at ADDRESS (127.0.0.1:7430 if none is given) how many receipts of which nodes it holds, and what contradicts what.

    \b
    Example:
      edgenode hub status hub.local:7430
    """
    from edgenode_sdk import hub as hubs
    from edgenode_sdk.home import Home

    told = asyncio.run(hubs.status(address, key, Home(home)))
    if as_json:
        write_json(told)
        return
    write_facts({"hub": told["name"], "receipts": told["receipts"], "conflicts": told["conflicts"]})
    click.echo()
    write_table(
        ["node", "receipts", "conflicts", "last receipt"],
        [[node["name"], node["receipts"], node["conflicts"], time_text(node["last_received_ns"])] for node in told["nodes"]],
    )
