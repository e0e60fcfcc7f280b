"""Small processes that give things up: what they gave up, the tests' own process keeps."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from textwrap import dedent


def start(*code: str, arguments: Sequence[object] = (), inherit: Sequence[int] = ()) -> subprocess.Popen[str]:
    """A child that runs these parts of a program, each indented as it likes; ``arguments`` are its sys.argv[1:]."""
    command = [sys.executable, "-c", "\n".join(map(dedent, code)), *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, pass_fds=inherit, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


def run(*code: str, arguments: Sequence[object] = (), inherit: Sequence[int] = ()) -> subprocess.CompletedProcess[str]:
    """The same, when it has ended."""
    with start(*code, arguments=arguments, inherit=inherit) as child:
        stdout, stderr = child.communicate(timeout=60)
    return subprocess.CompletedProcess(child.args, child.returncode, stdout, stderr)


def output(*code: str, arguments: Sequence[object] = (), inherit: Sequence[int] = ()) -> str:
    """What a child that ends well prints."""
    done = run(*code, arguments=arguments, inherit=inherit)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
