"""``edgenode source``: this machine's sensors, and the channels that a node has filled from them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import click

from edgenode.cli.options import PATH, json_option, state_option
from edgenode.cli.output import time_text, write_json, write_table


@click.group()
def command() -> None:
    """Look at a node's sources, and read one here.

    \b
    Example:
      edgenode source read host -n 3
    """


@command.command("list")
@state_option("node")
@json_option
def list_sources(state: Path, as_json: bool) -> None:
    """The configured sources, and each channel with the last value that is on the disk. The node may be running.

    \b
    Example:
      edgenode source list --state /var/lib/edgenode
    """
    from edgenode import config
    from edgenode.sensors import peek

    sources = config.load(state / "edgenode.toml", config.NodeConfig).sources
    database = state / "samples.db"
    channels = peek.channels(database) if database.exists() else []  # a node that never ran has none
    if as_json:
        write_json(
            {
                "sources": {name: {"driver": one.driver, "interval_ms": one.interval_ms, **one.options} for name, one in sources.items()},
                "channels": [
                    {
                        "name": one.channel.name,
                        "unit": one.channel.unit,
                        "source": one.source,
                        "first_ns": one.first_ns,
                        "last_ns": one.last_ns,
                        "last_value": one.last_value,
                    }
                    for one in channels
                ],
            }
        )
        return
    write_table(["source", "driver", "interval ms"], [[name, one.driver, one.interval_ms] for name, one in sources.items()])
    click.echo()
    write_table(
        ["channel", "last value", "unit", "at", "source"],
        [[one.channel.name, one.last_value, one.channel.unit, time_text(one.last_ns), one.source] for one in channels],
    )


@command.command("read")
@click.argument("name")
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), help="The node's state folder, whose edgenode.toml has the source."
)
@click.option("--config", "file", type=PATH, help="A configuration file that has the source.")
@click.option("-n", "--count", type=click.IntRange(min=1), help="End after so many readings.  [default: Ctrl-C]")
@json_option
def read(name: str, state: Path | None, file: Path | None, count: int | None, as_json: bool) -> None:
    """Run a source's driver here and print its readings as they come; nothing is stored. With --json one object a line.

    NAME is a source of the configuration; without one, a driver with its defaults.

    \b
    Example:
      edgenode source read host -n 3
    """
    from edgenode import config
    from edgenode.config import SourceConfig, unknown_key

    if state and file:
        raise click.UsageError("either --state or --config")
    path = file or (state / "edgenode.toml" if state else None)
    if path is None:
        described = SourceConfig(driver=name)
    else:
        sources = config.load(path, config.NodeConfig).sources
        if name not in sources:
            raise unknown_key(f"sources.{name} in {path}", name, list(sources))
        described = sources[name]
    asyncio.run(_read(name, described, count, as_json))


async def _read(name: str, described: Any, count: int | None, as_json: bool) -> None:
    from edgenode.clock import SystemClock
    from edgenode.records import Poll
    from edgenode.sensors import registry

    readings: asyncio.Queue[Poll | None] = asyncio.Queue()
    source = registry.build(name, described, SystemClock())

    async def run() -> None:
        try:
            await source.run(readings.put_nowait)
        finally:
            readings.put_nowait(None)

    running = asyncio.create_task(run())
    try:
        told = 0
        while told != count and (poll := await readings.get()) is not None:
            _tell(poll, as_json)
            told += 1
        if told != count:
            await running  # it ended by itself: raise what it raised
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _tell(poll: Any, as_json: bool) -> None:
    if as_json:
        values = {channel.name: value for channel, value in poll.values}
        write_json({"time_ns": poll.time_ns, "values": values, "dropped": poll.dropped})
        return
    for channel, value in poll.values:
        click.echo(f"{time_text(poll.time_ns)}  {channel.name}  {value:.6g} {channel.unit}")
    if poll.dropped:
        click.echo(f"{time_text(poll.time_ns)}  {poll.dropped} readings failed", err=True)
