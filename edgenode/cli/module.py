"""``edgenode module``: WebAssembly modules on the laptop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from edgenode.cli.options import home_option, json_option
from edgenode.cli.output import write_facts, write_json


@click.group()
def command() -> None:
    """Sign modules, and look into them.

    \b
    Example:
      edgenode module sign statistics
      edgenode module inspect statistics
    """


@command.command("sign")
@click.argument("place", metavar="FOLDER_OR_NAME")
@home_option
@json_option
def sign(place: str, home: Path | None, as_json: bool) -> None:
    """Sign a module's manifest.toml with the publisher's key, and keep both ready to be submitted.

    FOLDER_OR_NAME is a folder with manifest.toml and the .wasm, or the name of a module that comes with edgenode.

    \b
    Example:
      edgenode module sign wasm-modules/statistics
    """
    from edgenode_sdk import modules
    from edgenode_sdk.home import Home

    name, path, signed = modules.sign(place, Home(home))
    if as_json:
        write_json({"name": name, "wasm": str(path), "manifest": signed.hex()})
    else:
        click.echo(f"signed {name}: {path}, manifest {signed.hex()}")


@command.command("inspect")
@click.argument("place", metavar="FILE_OR_NAME")
@home_option
@json_option
def inspect(place: str, home: Path | None, as_json: bool) -> None:
    """What a module is: imports, exports, memory, digest; what its manifest says, who signed it, and whether this fleet trusts that.

    FILE_OR_NAME is a .wasm, a signed .manifest, or the name of a module that was signed here or comes with edgenode.

    \b
    Example:
      edgenode module inspect build/my-module.wasm
    """
    from edgenode_sdk import inspection
    from edgenode_sdk.home import Home

    told = inspection.inspect(place, Home(home))
    if as_json:
        write_json(told)
        return
    write_facts({name: value for name, value in _flat(told) if value not in ("", None)})


def _flat(told: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for name, value in told.items():
        if isinstance(value, dict):
            lines += _flat(value, f"{prefix}{name}.")
        else:
            lines.append((prefix + name, ", ".join(map(str, value)) if isinstance(value, list) else value))
    return lines
