"""Landlock (landlock(7)): a process denies itself every file, TCP port, and foreign socket and process. What is open stays open.

Memory files are of no mounted file system, so they are not subject to it: a worker can open /proc/self/fd/N of the code that it was
handed, and nothing else. Not denied: the metadata of files, as stat(2) tells it.
"""

from __future__ import annotations

import errno
import os
import struct
from typing import Final

from edgenode.sandbox.libc import call

_CREATE_RULESET, _RESTRICT_SELF = 444, 446  # the same on every architecture
_VERSION: Final = 1  # LANDLOCK_CREATE_RULESET_VERSION

# Rights in landlock_ruleset_attr (include/uapi/linux/landlock.h) and the version that brought them: (version, number of rights by then).
_FILES: Final = ((1, 13), (2, 14), (3, 15), (5, 16), (9, 17))
_PORTS: Final = ((4, 2),)  # bind and connect, TCP
_SCOPES: Final = ((6, 2),)  # abstract sockets and signals
_NEWEST: Final = 9  # that the above holds all of

# EPERM is an outer filter's answer, as of a container or of systemd; the kernel's own to this question are the other two.
_ABSENT: Final = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})


def restrict() -> int:
    """Deny this thread all that the kernel's Landlock and this file know. Needs no_new_privs.

    Gives the version of the ABI in force, 0 where the kernel has none; raises OSError for any other failure.
    """
    for abi in range(min(version(), _NEWEST), 0, -1):
        attribute = handled(abi)
        try:
            ruleset = call("syscall", _CREATE_RULESET, attribute, len(attribute), 0)
        except OSError as error:
            if error.errno == errno.EINVAL:
                continue  # kernels with backports claim versions that they have only a part of
            raise
        try:
            call("syscall", _RESTRICT_SELF, ruleset, 0)
        finally:
            os.close(ruleset)
        return abi
    return 0


def version() -> int:
    """Of the kernel's ABI, 0 where it has no Landlock."""
    try:
        return call("syscall", _CREATE_RULESET, None, 0, _VERSION)
    except OSError as error:
        if error.errno in _ABSENT:
            return 0
        raise


def handled(abi: int) -> bytes:
    """The attribute that handles every right of this version of the ABI: fields that it lacks are left off."""
    files, ports, scopes = (_mask(rights, abi) for rights in (_FILES, _PORTS, _SCOPES))
    return struct.pack("=QQQ", files, ports, scopes)[: 24 if scopes else 16 if ports else 8]


def _mask(rights: tuple[tuple[int, int], ...], abi: int) -> int:
    return (1 << max((count for since, count in rights if since <= abi), default=0)) - 1
