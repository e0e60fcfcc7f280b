"""What a process of the sandbox gives up before it meets a guest's bytes. Nothing here can be taken back.

No limit on address space or data is set on a worker: with one, ``memory.grow`` would depend on the host, and its result is signed.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys

_PR_SET_PDEATHSIG = 1  # include/uapi/linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_STACK_BYTES = 8 * 1024 * 1024  # room for the guest's stack (engine.FLAGS) above the host's own


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (prctl(2)); ``parent`` is that thread's process."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        sys.exit(1)


def confine(*, files: int, file_bytes: int) -> None:
    """No new privileges, processes or core dumps; at most ``files`` open at once, and none written beyond ``file_bytes``."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NPROC, 0)
    _lower(resource.RLIMIT_NOFILE, files)
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    _raise_stack()


def limit_compiling(*, cpu_seconds: int, address_space: int) -> None:
    """For the compiling child alone: CPU time, after which SIGXCPU ends it, and bytes of address space."""
    _lower(resource.RLIMIT_CPU, cpu_seconds)
    _lower(resource.RLIMIT_AS, address_space)


def _lower(limit: int, value: int) -> None:
    hard = resource.getrlimit(limit)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    # SIGXCPU comes at the soft limit and says what happened; SIGKILL would come at the hard one, so that is a second later.
    resource.setrlimit(limit, (value, value + 1 if limit == resource.RLIMIT_CPU and value != hard else value))


def _raise_stack() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    if soft != resource.RLIM_INFINITY and soft < _STACK_BYTES:
        resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES if hard == resource.RLIM_INFINITY else min(_STACK_BYTES, hard), hard))


def _prctl(option: int, value: int) -> None:
    unused = ctypes.c_ulong(0)
    if ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), unused, unused, unused):
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
