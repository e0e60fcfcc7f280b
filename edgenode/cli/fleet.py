"""``edgenode fleet``: the laptop's folder with the fleet's root, its trust document and its registrar."""

from __future__ import annotations

from pathlib import Path

import click

from edgenode.cli.options import PATH, home_option, json_option, public_key
from edgenode.cli.output import time_text, write_facts, write_json, write_table
from edgenode.errors import ConfigError
from edgenode.files import write_document
from edgenode.formats import document
from edgenode.formats.trust import Role, Trust
from edgenode_sdk.home import Home


@click.group()
def command() -> None:
    """Begin a fleet, say who may do what in it, and enrol nodes.

    \b
    Example:
      edgenode fleet init
      edgenode fleet enrol KEY --name press-7 -o node.cbor
    """


@command.command("init")
@home_option
@json_option
def init(home: Path | None, as_json: bool) -> None:
    """Make a fleet: a root, registrar, publisher and submitter key, and the trust document that says so.

    \b
    Example:
      edgenode fleet init
    """
    made = Home.create(home)
    if as_json:
        write_json({"home": str(made.folder), "trust": str(made.trust_path), "fleet": made.trust().trust.fleet.hex()})
        return
    click.echo(f"fleet {made.trust().trust.fleet.hex()} in {made.folder}")
    click.echo(f"next: give each device {made.trust_path}, and keep {made.key_path('root')} offline")


@command.command("grant")
@click.argument("role", type=click.Choice([role.value for role in Role]))
@click.argument("key", type=public_key)
@click.option("--name", required=True, help="Whose key it is, for people.")
@home_option
@json_option
def grant(role: str, key: bytes, name: str, home: Path | None, as_json: bool) -> None:
    """Let KEY hold ROLE for a year: the root signs the trust document's next version, which every node and hub needs then.

    \b
    Example:
      edgenode fleet grant hub 5f0c…e1 --name hub
    """
    here = Home(home)
    trust = here.grant(Role(role), key, name)
    if as_json:
        write_json({"version": trust.version, "trust": str(here.trust_path)})
        return
    click.echo(f"{name} is {role}, by trust document version {trust.version}")
    click.echo(f"next: put {here.trust_path} into the state folder of each node and hub, and start them again")


@command.command("enrol")
@click.argument("key", type=public_key)
@click.option("--name", required=True, help="The node's name: as in a host name.")
@click.option("--label", "labels", multiple=True, metavar="NAME=VALUE", help="A label that jobs can select by; may be repeated.")
@click.option("-o", "--output", type=PATH, help="Write the node document here as well.")
@home_option
@json_option
def enrol(key: bytes, name: str, labels: tuple[str, ...], output: Path | None, home: Path | None, as_json: bool) -> None:
    """Sign the document that makes the node with KEY a member for a year.

    \b
    Example:
      edgenode fleet enrol 93ab…07 --name press-7 --label line=3 -o node.cbor
    """
    here = Home(home)
    data = here.enrol(key, name, dict(map(_label, labels)))
    kept = here.folder / "nodes" / f"{name}.cbor"
    if output is not None:
        write_document(output, data)
    if as_json:
        write_json({"name": name, "key": key.hex(), "document": str(output or kept)})
        return
    click.echo(f"enrolled {name}")
    click.echo(f"next: put {output or kept} into the node's state folder as node.cbor")


@command.command("show")
@home_option
@json_option
def show(home: Path | None, as_json: bool) -> None:
    """Print the trust document: roots, grants and revocations.

    \b
    Example:
      edgenode fleet show --json
    """
    trust = Home(home).trust().trust
    if as_json:
        write_json(document.to_json(trust))
    else:
        _write_trust(trust)


def _write_trust(trust: Trust) -> None:
    write_facts(
        {
            "fleet": trust.fleet.hex(),
            "version": trust.version,
            "expires": time_text(trust.expires * 10**9),
            "roots": f"{trust.roots.threshold} of {', '.join(key.hex() for key in trust.roots.keys)}",
            "revoked": f"{len(trust.revoked.keys)} keys, {len(trust.revoked.modules)} modules",
        }
    )
    click.echo()
    write_table(
        ["role", "name", "key", "expires"],
        [[one.role.value, one.name, one.public_key.hex(), time_text(one.expires * 10**9)] for one in trust.grants],
    )


def _label(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise ConfigError(f"--label is {text!r:.80}", hint="NAME=VALUE, such as line=3")
    return name, value
