"""First set-up of a state folder: a key made here, and a configuration file that says what can be set."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgenode import config
from edgenode.errors import ConfigError
from edgenode.files import read_document, write_document
from edgenode.state import State
from edgenode.trust.identity import Identity

NODE_FILE, HUB_FILE = "edgenode.toml", "hub.toml"

_NODE = """\
# An edgenode node. A key that nobody knows is an error that names the nearest known one.
name = {name}

[intake]
host = {host}
port = {port}  # 0: any

[peers]
mdns = {mdns}
interfaces = {interfaces}  # this machine's addresses to announce and look from; empty: every LAN interface
static = {static}  # host:port of peers, for networks without multicast
{sources}{uplink}
# [samples]
# flush_seconds = 10.0    # younger samples may be lost with the power
# bytes = 536870912       # the oldest go first
# days = 30

# [sandbox]
# workers = 1
# fuel = 100000000000     # the greatest budget of one step
# memory = 268435456      # bytes
"""

_SOURCE = """
[sources.{name}]
driver = {driver}
interval_ms = {interval}
"""

_UPLINK = """
[uplinks.hub]
url = {url}
key = {key}
"""

_NO_UPLINK = """
# [uplinks.hub]           # where receipts go
# url = "https://hub.local:7430"
# key = ""                # the hub's public key: 'edgenode hub init' prints it
"""

_HUB = """\
# An edgenode hub. A key that nobody knows is an error that names the nearest known one.
name = {name}

[intake]
host = {host}
port = {port}  # 0: any
"""


def node_config(
    *,
    name: str,
    host: str,
    port: int,
    mdns: bool,
    interfaces: Sequence[str],
    static: Sequence[str],
    sources: Sequence[str],
    interval: int,
    hub: tuple[str, str] | None,
) -> str:
    """edgenode.toml as text. ``sources`` are drivers, each read every ``interval`` ms; ``hub`` is (address, key in hex)."""
    return _NODE.format(
        name=_toml(name),
        host=_toml(host),
        port=port,
        mdns=_toml(mdns),
        interfaces=_toml(list(interfaces)),
        static=_toml(list(static)),
        sources="".join(_SOURCE.format(name=driver, driver=_toml(driver), interval=interval) for driver in sources),
        uplink=_NO_UPLINK if hub is None else _UPLINK.format(url=_toml(f"https://{hub[0]}"), key=_toml(hub[1])),
    )


def hub_config(*, name: str, host: str, port: int) -> str:
    return _HUB.format(name=_toml(name), host=_toml(host), port=port)


def create(folder: Path, file: str, kind: type[Any], text: str, trust: Path | None) -> Identity:
    """Make a state folder with a new key and this configuration, once it is known that ``kind`` can be read from it.

    Raises ConfigError for what does not fit, and StorageError when a key is there already or nothing can be written.
    """
    config.build(kind, tomllib.loads(text), "")
    data = read_document(trust, "'edgenode fleet init' on the laptop makes one") if trust else None
    if (folder / file).exists():
        raise ConfigError(f"{folder / file} is there already", hint="name another state folder")
    state = State.create(folder)
    write_document(folder / file, text.encode())
    if data is not None:
        write_document(state.trust, data)
    return state.identity()


def _toml(value: Any) -> str:
    return json.dumps(value)  # JSON's texts, lists and truths are TOML's
