"""Exit codes, and how an error is told: in words on stderr, or as a problem document (RFC 9457) on stdout with --json."""

from __future__ import annotations

from typing import Final

import click

from edgenode.errors import (
    ConfigError,
    EdgenodeError,
    FaultError,
    LimitError,
    MalformedError,
    PinError,
    RefusedError,
    StorageError,
    TransportError,
    TrustError,
)

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
UNREACHABLE: Final = 3
REFUSED: Final = 4
MACHINE: Final = 5
INTERRUPTED: Final = 130

TEXT: Final = """\
\b
Exit codes:
  0    done
  1    done, and the answer is bad: an outcome other than ok, a replay that differs, nothing of that name
  2    the command, a configuration or a job file cannot be used
  3    no node or hub in reach
  4    refused: not trusted, damaged, over a limit, or turned down by the node
  5    this machine failed: disk, state folder or sandbox
  130  interrupted"""

_CODES: Final[tuple[tuple[type[EdgenodeError], int], ...]] = (  # the first that fits decides
    (ConfigError, USAGE),
    (PinError, REFUSED),
    (TransportError, UNREACHABLE),
    (TrustError, REFUSED),
    (RefusedError, REFUSED),
    (MalformedError, REFUSED),
    (LimitError, REFUSED),
    (StorageError, MACHINE),
    (FaultError, MACHINE),
)


def code_of(error: EdgenodeError) -> int:
    return next((code for kind, code in _CODES if isinstance(error, kind)), FAILED)


def tell(error: EdgenodeError, *, as_json: bool) -> None:
    if as_json:
        from edgenode.transport.problem import to_problem

        click.echo(to_problem(error).decode())
        return
    click.echo(f"error: {error.what}", err=True)
    if error.hint:
        click.echo(f"hint: {error.hint}", err=True)


def known(error: BaseException) -> EdgenodeError | None:
    """The error of ours that a task group raised, if that is what this is."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, EdgenodeError) else None
