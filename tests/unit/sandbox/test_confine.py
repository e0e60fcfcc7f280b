"""A process that was confined attacks the machine and its parent, in every way that we know of: nothing is to succeed."""

from __future__ import annotations

import fcntl
import json
import os
import select
import socket
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest

from edgenode.sandbox import landlock, seccomp
from edgenode.sandbox.confine import resident_bytes
from edgenode.sandbox.wire import Confinement

from . import children

# What a free process of any user may do: that these succeed without confine() shows that it is what stops them.
FREE = {"read a file", "write a file", "list a folder", "connect", "make a socket", "fork", "start a thread", "signal the parent"}
FREE |= {"make a memory file", "share memory", "make a pipe", "rename itself"}

confinable = pytest.mark.skipif(not (seccomp.supported() and landlock.version()), reason="needs Landlock and seccomp in the kernel")

CONFINE = """
    import json, mmap, os, signal, sys
    from edgenode.sandbox.confine import confine, die_with
    from edgenode.sandbox.libc import call

    def give_up(executable=True):
        return confine(files=32, file_bytes=0, executable=executable)
"""

ATTACKS = """
    import socket, threading

    parent, folder, port, free = os.getppid(), sys.argv[1], int(sys.argv[2]), sys.argv[3].split(",")
    x86 = os.uname().machine == "x86_64"
    ready = socket.socket()

    def fork():
        if os.fork() == 0:
            os._exit(0)
        os.wait()

    def number(on_x86, on_aarch64):
        return on_x86 if x86 else on_aarch64

    attacks = {
        "read a file": lambda: open("/etc/passwd"),
        "write a file": lambda: open(folder + "/new", "w"),
        "list a folder": lambda: os.listdir("/"),
        "connect": lambda: ready.connect(("127.0.0.1", port)),
        "make a socket": socket.socket,
        "make a socket pair": socket.socketpair,
        "fork": fork,
        "start a thread": lambda: threading.Thread(target=int).start(),
        "become a program": lambda: os.execv(sys.executable, [sys.executable, "-c", "print('executed')"]),
        "signal the parent": lambda: os.kill(parent, 0),
        "signal its group": lambda: os.killpg(0, 0),
        "trace the parent": lambda: call("ptrace", 0x4206, parent, 0, 0),
        "write to the parent": lambda: open(f"/proc/{parent}/mem", "r+b", 0),
        "read the parent": lambda: call("syscall", number(310, 270), parent, 0, 0, 0, 0, 0),
        "hold the parent": lambda: call("syscall", 434, parent, 0),
        "limit the parent": lambda: call("prlimit", parent, 7, None, None),
        "mount": lambda: call("mount", b"none", folder.encode(), b"tmpfs", 0, None),
        "unshare": lambda: call("unshare", 0x10000000),
        "change root": lambda: os.chroot("/"),
        "change user": lambda: os.setuid(os.getuid()),
        "gain capabilities": lambda: call("capset", bytes.fromhex("2205082000000000"), bytes(24)),
        "keys": lambda: call("syscall", number(250, 219), 0, -3, 0),
        "load a program into the kernel": lambda: call("syscall", number(321, 280), 0, bytes(128), 128),
        "ring": lambda: call("syscall", 425, 1, bytes(120)),
        "faults": lambda: call("syscall", number(323, 282), 1),
        "measure": lambda: call("syscall", number(298, 241), bytes(128), 0, -1, -1, 0),
        "make a memory file": lambda: os.memfd_create("x"),
        "share memory": lambda: mmap.mmap(-1, 4096),
        "make a pipe": os.pipe,
        "rename itself": lambda: call("prctl", 15, b"innocent", 0, 0, 0),
        "write to a terminal": lambda: call("ioctl", 0, 0x5412, b"x"),
        "raise a limit": lambda: call("setrlimit", 7, bytes(16)),
    }

    confinement = None if free != [""] else give_up()
    succeeded = []
    for name, attack in attacks.items():
        if free != [""] and name not in free:
            continue
        try:
            attack()
            succeeded.append(name)
        except (OSError, RuntimeError) as error:
            if not isinstance(error, PermissionError) and "thread" not in str(error):
                succeeded.append(f"{name}: {error}")  # it failed by itself: that shows nothing
    print(json.dumps([confinement, succeeded]))
"""


def attacked(folder: Path, free: set[str]) -> tuple[list[object] | None, set[str]]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        confinement, succeeded = json.loads(children.output(CONFINE, ATTACKS, arguments=[folder, server.getsockname()[1], ",".join(free)]))
    return confinement, set(succeeded)


@confinable
def test_every_attack_fails(tmp_path: Path) -> None:
    confinement, succeeded = attacked(tmp_path, set())
    assert confinement == [min(landlock.version(), 9), True, False]
    assert succeeded == set()


def test_the_same_attacks_succeed_from_a_free_process(tmp_path: Path) -> None:
    assert attacked(tmp_path, FREE) == (None, FREE)


@confinable
def test_without_native_code_no_memory_becomes_executable() -> None:
    script = """
    import ctypes
    page = mmap.mmap(-1, 4096, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    at = ctypes.addressof(ctypes.c_char.from_buffer(page))
    confinement = give_up(executable=sys.argv[1] == "native")
    try:
        call("mprotect", at, 4096, mmap.PROT_READ | mmap.PROT_EXEC)
        print(json.dumps([confinement, "executable"]))
    except PermissionError:
        print(json.dumps([confinement, "refused"]))
    """
    for mode, no_new_code, became in (("native", False, "executable"), ("pulley", True, "refused")):
        confinement, result = json.loads(children.output(CONFINE, script, arguments=[mode]))
        assert (Confinement(*confinement).no_new_code, result) == (no_new_code, became)


def test_it_has_no_capabilities_and_only_the_limits_that_no_result_depends_on() -> None:
    script = "give_up(); print(flush=True); sys.stdin.read(1)"
    with children.start(CONFINE, script) as child:
        assert child.stdout and child.stdout.readline()
        status = Path(f"/proc/{child.pid}/status").read_text()
        limits = Path(f"/proc/{child.pid}/limits").read_text()
        child.communicate("x")
    fields = dict(line.split(":\t", 1) for line in status.splitlines())
    assert {fields[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
    assert fields["NoNewPrivs"] == "1"
    rows = {line[:26].strip(): line[26:].split()[0] for line in limits.splitlines()[1:]}
    assert [rows[f"Max {name}"] for name in ("core file size", "processes", "open files", "file size")] == ["0", "0", "32", "0"]
    mine = {line[:26].strip(): line[26:].split()[0] for line in Path("/proc/self/limits").read_text().splitlines()[1:]}
    assert all(rows[name] == mine[name] for name in ("Max address space", "Max data size", "Max resident set"))


def test_it_still_ends_with_its_parent() -> None:
    confined = dedent(CONFINE) + "die_with(int(sys.argv[1])); give_up(); print(flush=True); sys.stdin.read()"
    script = """
    import os, subprocess, sys
    pipe = subprocess.PIPE
    child = subprocess.Popen([sys.executable, "-c", sys.argv[1], str(os.getpid())], stdin=pipe, stdout=pipe)
    child.stdout.readline()
    print(child.pid, flush=True)
    sys.stdin.read(1)
    os._exit(0)
    """
    with children.start(script, arguments=[confined]) as parent:
        assert parent.stdout
        handle = os.pidfd_open(int(parent.stdout.readline()))
        try:
            assert select.select([handle], [], [], 0)[0] == []
            parent.communicate("x")
            assert select.select([handle], [], [], 30)[0] == [handle]
        finally:
            os.close(handle)


def test_memory_of_its_own_is_watched_and_mapped_code_is_not() -> None:
    size = 16 * 1024 * 1024
    code = os.memfd_create("code", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(code, bytes(size))
    fcntl.fcntl(code, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    script = f"""
    def wait():
        print(flush=True)
        sys.stdin.readline()
    kept = bytearray(64)
    wait()
    code = mmap.mmap({code}, {size}, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ)
    total = sum(code[at] for at in range(0, {size}, 4096))
    wait()
    grown = bytearray(b"x") * {size}
    wait()
    """

    def step(child: subprocess.Popen[str]) -> int:
        assert child.stdout and child.stdin and child.stdout.readline(), child.stderr and child.stderr.read()
        found = resident_bytes(child.pid)
        child.stdin.write("\n")
        child.stdin.flush()
        return found

    with children.start(CONFINE, script, inherit=[code]) as child:
        before, mapped, grown = step(child), step(child), step(child)
    os.close(code)
    assert mapped - before < size / 4
    assert grown - mapped > size * 3 / 4


def test_memory_of_a_process_that_is_gone_is_an_error() -> None:
    with children.start("pass") as child:
        child.communicate()
    with pytest.raises(OSError, match=str(child.pid)):
        resident_bytes(child.pid)
