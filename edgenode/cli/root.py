"""The command ``edgenode``: finds the noun that is meant, and turns what comes of it into an exit code."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Final, cast

import click

import edgenode
from edgenode.cli import exits
from edgenode.errors import ConfigError, StorageError

NOUNS: Final[Mapping[str, str]] = {
    "demo": "a hub and nodes on this machine: one job, verified receipts",
    "key": "make and show Ed25519 keys",
    "fleet": "a fleet's root: grant roles, enrol nodes",
    "node": "set up, run and look at nodes",
    "hub": "set up, run and look at a hub",
    "module": "sign and inspect WebAssembly modules",
    "job": "submit jobs, and get what came of them",
    "source": "look at sensors and the channels they fill",
    "receipt": "show, verify and replay receipts",
    "exec": "run a module here, in the same sandbox",
}
"""Command -> what it is for. Each is ``command`` in the file of its name, imported when it is used."""


class _Nouns(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(NOUNS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in NOUNS:
            return None
        return cast(click.Command, importlib.import_module(f"edgenode.cli.{name}").command)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(NOUNS.items()))


@click.group(cls=_Nouns, context_settings={"help_option_names": ["-h", "--help"]}, epilog=exits.TEXT)
@click.version_option(edgenode.__version__, prog_name="edgenode")
def root() -> None:
    """Runs signed WebAssembly jobs on the sensor data of a gateway, and brings back small, provable answers.

    \b
    Example:
      edgenode demo
    """


def main() -> None:
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """One command line; its exit code. Errors of ours are told in one line and a hint, never as a traceback."""
    as_json = "--json" in arguments
    try:
        code = root.main(args=list(arguments), prog_name="edgenode", standalone_mode=False)
        if sys.stdout is not None:  # it was closed before we began
            sys.stdout.flush()
        return code if isinstance(code, int) else exits.OK
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return exits.USAGE
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "edgenode"
        exits.tell(ConfigError(error.format_message().rstrip("."), hint=f"'{where} --help' shows how"), as_json=as_json)
        return exits.USAGE
    except (click.Abort, KeyboardInterrupt):
        return exits.INTERRUPTED
    except BrokenPipeError:  # the reader of our output has gone
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return exits.FAILED
    except Exception as raised:
        error_of_ours = exits.known(raised)
        if error_of_ours is None and isinstance(raised, OSError):  # of our own output: every other is told as what it is
            error_of_ours = StorageError(str(raised), hint="look where the output goes")
        if error_of_ours is None:
            raise
        exits.tell(error_of_ours, as_json=as_json)
        return exits.code_of(error_of_ours)
