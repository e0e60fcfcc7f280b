"""A process that has called landlock.restrict has what it holds, and can reach nothing else."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import struct
from pathlib import Path

import pytest
import wasmtime

from edgenode.sandbox import engine, landlock

from . import children
from .guests import HELLO

landlocked = pytest.mark.skipif(landlock.version() == 0, reason="needs Landlock in the kernel")

BEFORE = """
    import json, os, socket, sys
    from edgenode.sandbox import landlock
    from edgenode.sandbox.libc import call

    held = open("/proc/self/maps")
    call("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
"""


@pytest.mark.parametrize(
    ("abi", "files", "ports", "scopes"),
    [(1, 13, None, None), (2, 14, None, None), (3, 15, None, None), (4, 15, 2, None), (5, 16, 2, None), (6, 16, 2, 2), (9, 17, 2, 2)],
)
def test_every_right_of_a_version_is_handled(abi: int, files: int, ports: int | None, scopes: int | None) -> None:
    counts = [one for one in (files, ports, scopes) if one is not None]
    assert landlock.handled(abi) == struct.pack(f"={len(counts)}Q", *((1 << count) - 1 for count in counts))


@landlocked
def test_all_that_the_kernel_knows_is_in_force() -> None:
    script = "print(landlock.restrict())"
    assert int(children.output(BEFORE, script)) == min(landlock.version(), 9)


@landlocked
def test_files_are_out_of_reach(tmp_path: Path) -> None:
    script = """
    folder = sys.argv[1]
    attempts = {
        "read": lambda: open(folder + "/file"),
        "write": lambda: open(folder + "/file", "w"),
        "create": lambda: open(folder + "/new", "x"),
        "truncate": lambda: os.truncate(folder + "/file", 0),
        "list": lambda: os.listdir(folder),
        "remove": lambda: os.unlink(folder + "/file"),
        "make a folder": lambda: os.mkdir(folder + "/made"),
        "read itself": lambda: open("/proc/self/status"),
    }
    landlock.restrict()
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
            done.append(name)
        except PermissionError:
            pass
    print(json.dumps(done))
    """
    file = tmp_path / "file"
    file.write_text("kept")
    allowed = set() if landlock.version() >= 3 else {"truncate"}
    assert set(json.loads(children.output(BEFORE, script, arguments=[tmp_path]))) <= allowed
    assert file.read_text() == "kept" or allowed


@landlocked
def test_sockets_and_processes_outside_are_out_of_reach() -> None:
    if landlock.version() < 6:
        pytest.skip("needs Landlock of version 6: ports, sockets and signals")
    script = """
    port, name = int(sys.argv[1]), sys.argv[2]
    attempts = {
        "connect": lambda: socket.create_connection(("127.0.0.1", port)),
        "bind": lambda: socket.socket().bind(("127.0.0.1", 0)),
        "abstract socket": lambda: socket.socket(socket.AF_UNIX).connect("\\0" + name),
        "signal": lambda: os.kill(os.getppid(), 0),
    }

    def succeeded():
        for name, attempt in attempts.items():
            try:
                attempt()
                yield name
            except PermissionError:
                pass

    before = list(succeeded())
    landlock.restrict()
    print(json.dumps([before, list(succeeded())]))
    """
    name = f"edgenode-test-{os.getpid()}"
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0{name}")
        abstract.listen()
        before, after = json.loads(children.output(BEFORE, script, arguments=[server.getsockname()[1], name]))
    assert (before, after) == (["connect", "bind", "abstract socket", "signal"], [])


@landlocked
def test_code_in_a_sealed_memory_file_is_still_mapped_from_it() -> None:
    script = """
    import wasmtime
    from edgenode.sandbox import engine

    native = engine.create()
    landlock.restrict()
    module = wasmtime.Module.deserialize_file(native, f"/proc/self/fd/{sys.argv[1]}")
    print(sum("memfd:code" in line for line in held), len(module.exports))
    """
    code = os.memfd_create("code", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.write(code, wasmtime.Module(engine.create(), HELLO).serialize())
        fcntl.fcntl(code, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE)
        mappings, exports = map(int, children.output(BEFORE, script, arguments=[code], inherit=[code]).split())
    finally:
        os.close(code)
    assert mappings > 0
    assert exports == 3


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM])
def test_kernel_without_it_restricts_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(landlock, "call", _Kernel(refuses={b"": number}))
    assert landlock.restrict() == 0


def test_kernel_with_a_part_of_a_version_restricts_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    kernel = _Kernel(claims=6, refuses={landlock.handled(6): errno.EINVAL})
    monkeypatch.setattr(landlock, "call", kernel)
    assert landlock.restrict() == 5
    assert kernel.restricted


def test_any_other_failure_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(landlock, "call", _Kernel(claims=6, refuses={landlock.handled(6): errno.ENOMEM}))
    with pytest.raises(OSError, match="refused"):
        landlock.restrict()


class _Kernel:
    """Answers the calls of landlock.py; an attribute of ``refuses`` (empty: the question for the version) meets that error."""

    def __init__(self, *, claims: int = 1, refuses: dict[bytes, int]) -> None:
        self._claims, self._refuses = claims, refuses
        self.restricted = False

    def __call__(self, _: str, number: int, attribute: bytes | int | None, *__: int) -> int:
        if isinstance(attribute, int):
            self.restricted = True
            return 0
        if (refused := self._refuses.get(attribute or b"")) is not None:
            raise OSError(refused, "refused")
        return self._claims if attribute is None else os.open("/dev/null", os.O_RDONLY)
