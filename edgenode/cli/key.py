"""``edgenode key``: Ed25519 key pairs in files."""

from __future__ import annotations

from pathlib import Path

import click

from edgenode.cli.options import PATH, json_option
from edgenode.cli.output import write_json
from edgenode.trust import identity


@click.group()
def command() -> None:
    """Make and show keys: Ed25519, in PKCS #8 PEM files that only you can read.

    \b
    Example:
      edgenode key new hub.pem
    """


@command.command("new")
@click.argument("file", type=PATH)
@json_option
def new(file: Path, as_json: bool) -> None:
    """Make a key in FILE, and print its public half. A file that is there is never overwritten.

    \b
    Example:
      edgenode key new publisher.pem
    """
    _tell(file, identity.create(file), as_json)


@command.command("show")
@click.argument("file", type=PATH)
@json_option
def show(file: Path, as_json: bool) -> None:
    """Print the public key of the key in FILE.

    \b
    Example:
      edgenode key show /var/lib/edgenode/key.pem
    """
    _tell(file, identity.load(file), as_json)


def _tell(file: Path, key: identity.Identity, as_json: bool) -> None:
    if as_json:
        write_json({"file": str(file), "key": key.public.hex()})
    else:
        click.echo(key.public.hex())
