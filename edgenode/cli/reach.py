"""Which nodes a command talks to: those at given addresses, or those that mDNS finds."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from edgenode.cli.options import home_option, interface_option, patience_option
from edgenode.errors import UnreachableError
from edgenode_sdk.fleet import AsyncFleet
from edgenode_sdk.home import Home


@dataclass(frozen=True, slots=True)
class Reach:
    home: Home
    addresses: tuple[str, ...]
    interfaces: tuple[str, ...]
    patience: float

    @asynccontextmanager
    async def fleet(self) -> AsyncIterator[AsyncFleet]:
        """The fleet, with at least one node in reach. Raises UnreachableError, or what a given address answered."""
        if self.addresses:
            opening = AsyncFleet.connect(*self.addresses, home=self.home)
        else:
            opening = AsyncFleet.discover(self.home, interfaces=self.interfaces, patience=self.patience)
        async with await opening as fleet:
            if not fleet.nodes:
                seen = "; ".join(f"{address}: {error.what}" for address, error in fleet.unmet)
                raise UnreachableError(
                    f"no node of this fleet answered in {self.patience:g} s" + (f" ({seen})" if seen else ""),
                    hint="check that one runs on this network, or name it with --node ADDRESS",
                )
            for address, error in fleet.unmet if self.addresses else ():
                click.echo(f"warning: {address}: {error.what}", err=True)
            yield fleet


def reach_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--node, --interface, --patience and --home, handed to the command as one ``reach``."""

    @functools.wraps(command)
    def reaching(*, home: Path | None, nodes: tuple[str, ...], interfaces: tuple[str, ...], patience: float, **rest: Any) -> Any:
        return command(reach=Reach(Home(home), nodes, interfaces, patience), **rest)

    node = click.option("--node", "nodes", multiple=True, metavar="HOST:PORT", help="A node's address, instead of mDNS; may be repeated.")
    return node(interface_option(patience_option(home_option(reaching))))
