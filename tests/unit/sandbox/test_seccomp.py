"""The filter, first as a program that is read here line by line, for both architectures, then in force."""

from __future__ import annotations

import errno
import mmap
import os
import signal
import struct

import pytest

from edgenode.sandbox import seccomp
from edgenode.sandbox.seccomp import ALLOW, CALLS, KILL, MACHINES, REFUSE

from . import children

OWN = 1234  # the process that the filter is for
READ, WRITE, EXECUTE = mmap.PROT_READ, mmap.PROT_WRITE, mmap.PROT_EXEC
NEVER = {
    "x86_64": {"socket": 41, "connect": 42, "clone": 56, "fork": 57, "execve": 59, "kill": 62, "ptrace": 101, "memfd_create": 319},
    "aarch64": {"socket": 198, "connect": 203, "clone": 220, "execve": 221, "kill": 129, "ptrace": 117, "memfd_create": 279},
}

both = pytest.mark.parametrize("machine", list(MACHINES))
filtered = pytest.mark.skipif(not seccomp.supported(), reason="needs seccomp in the kernel")

INSTALL = """
    import os, sys
    from edgenode.sandbox import seccomp
    from edgenode.sandbox.libc import call

    def install(executable):
        call("prctl", 38, 1, 0, 0, 0)  # PR_SET_NO_NEW_PRIVS
        assert seccomp.install(executable=executable)
"""


def verdict(machine: str, call: str | int, *arguments: int, executable: bool = True, architecture: int | None = None) -> int:
    """What the kernel would do: classic BPF over struct seccomp_data (seccomp(2))."""
    number = CALLS[call][MACHINES[machine].column] if isinstance(call, str) else call
    architecture = MACHINES[machine].architecture if architecture is None else architecture
    data = struct.pack("<IIQ6Q", number, architecture, 0, *arguments, *[0] * (6 - len(arguments)))
    lines = list(struct.iter_unpack("=HBBI", seccomp.build(machine, executable=executable, process=OWN)))
    accumulator = at = 0
    while True:
        code, if_true, if_false, operand = lines[at]
        at += 1
        match code:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, operand)
            case 0x54:
                accumulator &= operand
            case 0x15:
                at += if_true if accumulator == operand else if_false
            case 0x35:
                at += if_true if accumulator >= operand else if_false
            case 0x06:
                return int(operand)
            case _:
                raise AssertionError(f"no such instruction: {code:#x}")


@both
@pytest.mark.parametrize("call", sorted(CALLS.keys() - {"openat", "mmap", "tgkill"}))
def test_listed_call_is_allowed(machine: str, call: str) -> None:
    assert verdict(machine, call) == ALLOW


@both
def test_any_other_call_is_refused(machine: str) -> None:
    listed = {numbers[MACHINES[machine].column] for numbers in CALLS.values()}
    assert all(verdict(machine, number) == REFUSE for number in range(600) if number not in listed)
    assert listed.isdisjoint(NEVER[machine].values())


@both
def test_calls_of_another_architecture_kill(machine: str) -> None:
    for other in [one.architecture for name, one in MACHINES.items() if name != machine] + [0x4000_0003, 0x4000_0028]:  # i386, arm
        assert verdict(machine, "read", architecture=other) == KILL


def test_calls_of_the_x32_abi_kill() -> None:
    assert verdict("x86_64", 0x4000_0000) == KILL
    assert verdict("x86_64", 0xFFFF_FFFF) == KILL


@both
def test_files_are_opened_for_reading_alone(machine: str) -> None:
    assert verdict(machine, "openat", 0, 0, os.O_RDONLY | os.O_CLOEXEC) == ALLOW
    for flags in (os.O_RDWR, os.O_WRONLY, os.O_RDONLY | os.O_CREAT, os.O_RDONLY | os.O_TRUNC, os.O_PATH, os.O_RDONLY | os.O_TMPFILE):
        assert verdict(machine, "openat", 0, 0, flags | os.O_CLOEXEC) == REFUSE


@both
def test_memory_is_private_and_never_mapped_executable(machine: str) -> None:
    private = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    assert verdict(machine, "mmap", 0, 4096, READ | WRITE, private) == ALLOW
    for protection, flags in [
        (READ | EXECUTE, private),
        (READ, mmap.MAP_SHARED),
        (READ, 0x03),
        (READ, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS),
    ]:
        assert verdict(machine, "mmap", 0, 4096, protection, flags) == REFUSE


@both
@pytest.mark.parametrize("executable", [True, False])
def test_memory_becomes_executable_only_where_code_is_native(machine: str, executable: bool) -> None:
    assert verdict(machine, "mprotect", 0, 4096, READ | WRITE, executable=executable) == ALLOW
    assert verdict(machine, "mprotect", 0, 4096, READ | EXECUTE, executable=executable) == (ALLOW if executable else REFUSE)


@both
def test_a_process_may_abort_itself_and_signal_nobody_else(machine: str) -> None:
    assert verdict(machine, "tgkill", OWN, OWN, signal.SIGABRT) == ALLOW
    assert verdict(machine, "tgkill", 1, 1, signal.SIGKILL) == REFUSE


@filtered
def test_it_is_in_force() -> None:
    script = """
    import socket, threading
    install(True)
    for attempt in (os.fork, socket.socket, os.pipe, lambda: os.memfd_create("x"), lambda: os.kill(os.getppid(), 0)):
        try:
            attempt()
            print("done", attempt)
        except PermissionError:
            pass
    try:
        threading.Thread(target=print).start()
        print("a thread")
    except RuntimeError:
        pass
    """
    assert children.output(INSTALL, script) == ""


@filtered
@pytest.mark.skipif(os.uname().machine != "x86_64", reason="the x32 ABI is of x86_64")
def test_a_call_of_the_x32_abi_ends_the_process() -> None:
    script = "install(True); call('syscall', 0x40000000 + 39); print('alive')"
    assert children.run(INSTALL, script).returncode == -signal.SIGSYS


@filtered
@pytest.mark.parametrize("target", ["", "pulley64"])
def test_the_engine_runs_under_it(target: str) -> None:
    """Traps, a stack overflow, memory that grows, the collector, and the end: all by signals and calls that are in the list."""
    script = """
    import gc
    import wasmtime
    from edgenode.sandbox import engine

    native = engine.create(sys.argv[1] or None)
    wat = '''(module
        (memory (export "memory") 1)
        (func (export "grow") (result i32) (memory.grow (i32.const 900)))
        (func (export "touch") (memory.fill (i32.const 0) (i32.const 1) (i32.const 50000000)))
        (func (export "unreachable") unreachable)
        (func (export "divide") (drop (i32.div_u (i32.const 1) (i32.const 0))))
        (func (export "outside") (drop (i32.load (i32.const -8))))
        (func $down (export "down") (call $down) (drop (memory.size))))'''
    wasm = wasmtime.wat2wasm(wat)
    install(not sys.argv[1])
    module = wasmtime.Module(native, wasm)
    for _ in range(3):
        store = wasmtime.Store(native)
        store.set_fuel(10**9)
        exports = wasmtime.Instance(store, module, []).exports(store)
        ended = [exports["grow"](store), exports["touch"](store)]
        for name in ("unreachable", "divide", "outside", "down"):
            try:
                exports[name](store)
            except wasmtime.Trap as trap:
                ended.append(trap.trap_code.name)
        del store, exports
        gc.collect()
    print(*ended)
    sys.exit(7)
    """
    done = children.run(INSTALL, script, arguments=[target])
    assert (done.stdout.split(), done.returncode) == (
        ["1", "None", "UNREACHABLE", "INTEGER_DIVISION_BY_ZERO", "MEMORY_OUT_OF_BOUNDS", "STACK_OVERFLOW"],
        7,
    ), done.stderr


@filtered
def test_an_abort_is_an_abort() -> None:
    assert children.run(INSTALL, "install(True); os.abort()").returncode == -signal.SIGABRT


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.EINVAL, errno.EPERM])
def test_kernel_without_filters_is_said(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    monkeypatch.setattr(seccomp, "call", _failing(number))
    assert seccomp.install(executable=True) is False


@filtered
def test_a_filter_that_the_kernel_does_not_take_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "call", _failing(errno.EFAULT))  # so it knows filters
    with pytest.raises(OSError, match="refused"):
        seccomp.install(executable=True)


def _failing(number: int) -> object:
    def call(*_: object) -> int:
        raise OSError(number, "refused")

    return call
