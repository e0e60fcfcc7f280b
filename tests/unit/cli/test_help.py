"""Every command has a help with an example, and what must start fast imports little."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from edgenode.cli import exits
from edgenode.cli.root import NOUNS, root, run
from edgenode.errors import BY_CODE


def commands(group: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    if isinstance(group, click.Group):
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            assert command is not None
            yield from commands(command, (*path, name))


@pytest.mark.parametrize("path", list(commands(root)), ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*path, "--help"]) == exits.OK
    told = capsys.readouterr().out
    assert "Example:" in told
    assert f"edgenode {' '.join(path)}" in told.partition("Example:")[2]


def test_the_list_of_commands_says_what_each_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    run(["--help"])
    told = capsys.readouterr().out
    assert all(name in told for name in NOUNS)
    assert "Exit codes" in told


def test_every_error_has_an_exit_code() -> None:
    for kind in BY_CODE.values():
        error = kind.__new__(kind)
        assert exits.code_of(error) in range(exits.FAILED, exits.MACHINE + 1)


def test_an_error_in_a_task_group_is_found() -> None:
    inner = BY_CODE["storage"]("no")
    assert exits.known(ExceptionGroup("a", [ExceptionGroup("b", [inner])])) is inner
    assert exits.known(ValueError()) is None


@pytest.mark.parametrize(
    ("line", "unwanted"),
    [
        ("edgenode.cli.root.run(['--help'])", ("aiohttp", "cbor2", "rich", "wasmtime", "edgenode_sdk")),
        (
            "edgenode.cli.root.run(['node', 'run', '--help']); import edgenode.agent",
            ("rich", "yaml", "wasmtime", "edgenode_sdk", "edgenode.hub"),
        ),
    ],
)
def test_what_is_not_needed_is_not_imported(line: str, unwanted: tuple[str, ...]) -> None:
    code = f"import sys, edgenode.cli.root; {line}; print('found', *(set({unwanted!r}) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "found"
