"""A system-call filter (seccomp(2)) of what the processes of the sandbox call once they have started; all else is EPERM.

    architecture? -> x32? -> the call is in the list? -> its arguments are as they must be? -> allow
         kill         kill          EPERM                      EPERM

A filter sees numbers, never what a pointer points to: which file ``openat`` may open is for Landlock to say.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from edgenode.sandbox.libc import call

ALLOW: Final = 0x7FFF_0000  # SECCOMP_RET_ALLOW
REFUSE: Final = 0x0005_0000 | errno.EPERM  # SECCOMP_RET_ERRNO
KILL: Final = 0x8000_0000  # SECCOMP_RET_KILL_PROCESS

_SET_MODE_FILTER: Final = 1
_X32: Final = 0x4000_0000  # a call's number is at least this when it is of the x32 ABI
_MAP_TYPE: Final = 0x0F
_ALL: Final = 0xFFFF_FFFF

_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06  # classic BPF (linux/bpf_common.h)
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data


class Machine(NamedTuple):
    """``architecture`` as linux/audit.h has it; ``column`` in CALLS; ``seccomp``: the number of that call."""

    architecture: int
    column: int
    seccomp: int


MACHINES: Final[Mapping[str, Machine]] = {"x86_64": Machine(0xC000_003E, 0, 317), "aarch64": Machine(0xC000_00B7, 1, 277)}

CALLS: Final[Mapping[str, tuple[int, int]]] = {
    # Requests and answers; wasm in and code out of the compiling child.
    "recvfrom": (45, 207),
    "recvmsg": (47, 212),
    "sendto": (44, 206),
    "read": (0, 63),
    "write": (1, 64),
    "lseek": (8, 62),
    "close": (3, 57),
    # Code is mapped from the memory file that holds it.
    "openat": (257, 56),
    "statx": (332, 291),
    "fstat": (5, 80),
    "newfstatat": (262, 79),
    "membarrier": (324, 283),  # before new code runs on aarch64
    # Memory.
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "brk": (12, 214),
    # Traps are signals.
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sigaltstack": (131, 132),
    "restart_syscall": (219, 128),
    # The runtimes of Python and of the engine.
    "futex": (202, 98),
    "sched_yield": (24, 124),
    "clock_gettime": (228, 113),
    "getrandom": (318, 278),
    # The end: return, and abort(3).
    "exit": (60, 93),
    "exit_group": (231, 94),
    "getpid": (39, 172),
    "gettid": (186, 178),
    "tgkill": (234, 131),
}
"""Name -> number on x86_64 and on aarch64."""


class _Check(NamedTuple):
    """The low 32 bits of an argument, with ``mask`` laid over them, must be ``value``."""

    argument: int
    mask: int
    value: int


def install(*, executable: bool) -> bool:
    """Filter this thread's calls from now on; ``executable``: memory may be made executable. Needs no_new_privs.

    False where the kernel has no filters, or this machine has no list; raises OSError for any other failure.
    """
    if not supported():
        return False
    machine = os.uname().machine
    program = build(machine, executable=executable, process=os.getpid())
    held = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: how many instructions, and where they are.
    call("syscall", MACHINES[machine].seccomp, _SET_MODE_FILTER, 0, struct.pack("=H6xQ", len(program) // 8, ctypes.addressof(held)))
    return True


def supported() -> bool:
    """Whether there is a list for this machine, and the kernel takes filters: then it looks for one where there is none.

    EPERM is an outer filter's answer, as of a container or of systemd.
    """
    machine = MACHINES.get(os.uname().machine)
    if machine is None:
        return False
    try:
        call("syscall", machine.seccomp, _SET_MODE_FILTER, 0, None)
    except OSError as error:
        if error.errno in (errno.ENOSYS, errno.EINVAL, errno.EPERM):
            return False
        if error.errno != errno.EFAULT:
            raise
    return True


def build(machine: str, *, executable: bool, process: int) -> bytes:
    """The filter's instructions, for a process with this id."""
    architecture, column, _ = MACHINES[machine]
    checks = _checks(executable=executable, process=process)
    lines = [_load(_ARCHITECTURE), *_unless(_EQUAL, architecture, KILL), _load(_NUMBER)]
    if machine == "x86_64":
        lines += [_line(_AT_LEAST, _X32, 0, 1), _line(_RETURN, KILL)]
    for name, numbers in CALLS.items():
        body = [line for check in checks.get(name, ()) for line in _require(check)] + [_line(_RETURN, ALLOW)]
        lines += [_line(_EQUAL, numbers[column], 0, len(body)), *body]
    return b"".join([*lines, _line(_RETURN, REFUSE)])


def _checks(*, executable: bool, process: int) -> Mapping[str, tuple[_Check, ...]]:
    never_executable = _Check(2, mmap.PROT_EXEC, 0)
    return {
        "openat": (_Check(2, _ALL, os.O_RDONLY | os.O_CLOEXEC),),
        # Private memory alone: what is shared outlives its mapping, and the watch on resident memory would not see it.
        "mmap": (never_executable, _Check(3, _MAP_TYPE, mmap.MAP_PRIVATE)),
        "mprotect": () if executable else (never_executable,),
        "tgkill": (_Check(0, _ALL, process),),
    }


def _require(check: _Check) -> Iterator[bytes]:
    yield _load(_ARGUMENTS + 8 * check.argument)  # the low half comes first: both machines are little-endian
    yield _line(_AND, check.mask)
    yield from _unless(_EQUAL, check.value, REFUSE)


def _unless(test: int, value: int, action: int) -> tuple[bytes, bytes]:
    return _line(test, value, 1, 0), _line(_RETURN, action)


def _load(offset: int) -> bytes:
    return _line(_LOAD, offset)


def _line(code: int, operand: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("=HBBI", code, if_true, if_false, operand)  # struct sock_filter
