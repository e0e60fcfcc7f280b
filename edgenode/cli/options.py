"""Options that several commands share."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])


def public_key(text: str) -> bytes:
    """The type of an option: a public key in hex."""
    return _from_hex(text, 32)


def job_id(text: str) -> bytes:
    """The type of an option: a job's id in hex."""
    return _from_hex(text, 16)


def _from_hex(text: str, size: int) -> bytes:
    try:
        found = bytes.fromhex(text)
    except ValueError:
        found = b""
    if len(found) != size:
        raise click.BadParameter(f"{text!r:.80} is not {2 * size} hex digits")
    return found


PATH = click.Path(path_type=Path)
FOLDER = click.Path(file_okay=False, path_type=Path)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON; errors too, as a problem object.")
home_option = click.option("--home", type=FOLDER, help="The laptop's folder.  [default: $EDGENODE_HOME or ~/.config/edgenode]")
interface_option = click.option(
    "--interface", "interfaces", multiple=True, metavar="ADDRESS", help="Look for nodes from this address of mine only; may be repeated."
)
patience_option = click.option("--patience", type=click.FloatRange(min=0.1), default=5.0, show_default=True, help="Seconds to look.")


def state_option(what: str) -> Callable[[Command], Command]:
    return click.option("--state", type=FOLDER, required=True, help=f"The {what}'s state folder.")


def log_option(command: Command) -> Command:
    return click.option(
        "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="info", show_default=True, help="To stderr."
    )(command)


def begin_log(level: str) -> None:
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
