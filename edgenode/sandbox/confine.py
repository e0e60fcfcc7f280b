"""What a process of the sandbox gives up before it meets a guest's bytes. Nothing here can be taken back.

No limit on address space or data is set on a worker: with one, ``memory.grow`` would depend on the host, and its result is signed. The
agent watches ``resident_bytes`` instead.
"""

from __future__ import annotations

import errno
import os
import resource
import signal
import struct
import sys
from pathlib import Path
from typing import Final

from edgenode.sandbox import landlock, seccomp
from edgenode.sandbox.libc import call
from edgenode.sandbox.wire import Confinement

_PR_SET_PDEATHSIG: Final = 1  # include/uapi/linux/prctl.h
_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_MDWE: Final = 65
_MDWE_REFUSE_EXEC_GAIN: Final = 1
_CAPABILITY_VERSION_3: Final = 0x2008_0522  # include/uapi/linux/capability.h
_STACK_BYTES = 8 * 1024 * 1024  # room for the guest's stack (engine.FLAGS) above the host's own
_COUNTED: Final = (b"RssAnon:", b"VmSwap:", b"VmPTE:")


def die_with(parent: int) -> None:
    """Have the kernel kill this process when the thread that started it ends (prctl(2)); ``parent`` is that thread's process."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the call above
        sys.exit(1)


def lift_memory_limits() -> bool:
    """Lift inherited limits on address space and data (ulimit -v and -d, LimitAS and LimitDATA); whether none is left.

    With one, ``memory.grow`` would depend on the host, and its result is signed.
    """
    for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA):
        hard = resource.getrlimit(limit)[1]
        resource.setrlimit(limit, (hard, hard))
    return all(resource.getrlimit(limit)[0] == resource.RLIM_INFINITY for limit in (resource.RLIMIT_AS, resource.RLIMIT_DATA))


def confine(*, files: int, file_bytes: int, executable: bool) -> Confinement:
    """Give up everything but running code: the last call before a guest's first byte, when all is imported and the engine made.

    At most ``files`` are open at once, and none is written beyond ``file_bytes``. ``executable``: memory may be made executable, as native
    code needs. What the kernel does not know is left out, and said.
    """
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_NPROC, 0)
    _lower(resource.RLIMIT_NOFILE, files)
    _lower(resource.RLIMIT_FSIZE, file_bytes)
    _raise_stack()
    _drop_capabilities()
    version = landlock.restrict()
    refused = not executable and _refuse_new_code()
    filtered = seccomp.install(executable=executable)  # last: it refuses the calls that are above
    return Confinement(version, filtered, refused or (filtered and not executable))


def limit_compiling(*, cpu_seconds: int, address_space: int) -> None:
    """For the compiling child alone, before confine: CPU time, after which SIGXCPU ends it, and bytes of address space."""
    _lower(resource.RLIMIT_CPU, cpu_seconds)
    _lower(resource.RLIMIT_AS, address_space)


def resident_bytes(pid: int) -> int:
    """How much memory a process has for itself, in RAM or swapped out, with its page tables. Raises OSError when it is gone.

    Anonymous memory alone: the pages of code files and of the request area count as shared memory, whose size the agent decides, and
    the filter lets a worker make none.
    """
    lines = Path(f"/proc/{pid}/status").read_bytes().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(_COUNTED))


def _drop_capabilities() -> None:
    # Where the agent is root, so is this process, and most of what a root may do it may by these.
    call("capset", struct.pack("=Ii", _CAPABILITY_VERSION_3, 0), bytes(24))


def _refuse_new_code() -> bool:
    """What is not executable stays so (PR_SET_MDWE); False before Linux 6.3."""
    try:
        _prctl(_PR_SET_MDWE, _MDWE_REFUSE_EXEC_GAIN)
    except OSError as error:
        if error.errno == errno.EINVAL:
            return False
        raise
    return True


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
    call("prctl", option, value, 0, 0, 0)
