"""The memory in which requests reach a worker: the agent writes a memory file, the worker reads its mapping of it.

Its two sides need no trust in each other. The worker is handed a descriptor that is open for reading alone, and closes it once it has
mapped the file, so it can neither change nor truncate what it reads. The agent has no mapping, so nothing could take a page from under
it (SIGBUS), and truncates what it has written, which a seal against writing (F_SEAL_FUTURE_WRITE) would forbid it, too.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import Final

from edgenode.sandbox.abi import REQUEST_BYTES, Bytes
from edgenode.sandbox.libc import LIBC

KEPT_BYTES: Final = 1024 * 1024  # of one area, from one request to the next

_READABLE: Final = 0x100  # PyBUF_READ
_FAILED: Final = ctypes.c_void_p(-1).value

_mmap = LIBC["mmap"]
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long)
_memory_view = ctypes.pythonapi.PyMemoryView_FromMemory
_memory_view.restype = ctypes.py_object
_memory_view.argtypes = (ctypes.c_void_p, ctypes.c_ssize_t, ctypes.c_int)


class RequestArea:
    """The agent's side of one worker's area, for one request at a time. ``descriptor`` is for the worker, to be inherited."""

    def __init__(self) -> None:
        self._file = os.memfd_create("request", os.MFD_CLOEXEC)
        try:
            self.descriptor = os.open(f"/proc/self/fd/{self._file}", os.O_RDONLY | os.O_CLOEXEC)
        except BaseException:
            os.close(self._file)
            raise

    def put(self, *parts: Bytes) -> int:
        """Write the parts one after another, and say how many bytes they have. Raises ValueError for more than REQUEST_BYTES."""
        length = sum(map(len, parts))
        if length > REQUEST_BYTES:
            raise ValueError(f"a request has at most {REQUEST_BYTES} bytes, not {length}")
        at = 0
        for part in parts:
            rest = memoryview(part)
            while rest:  # one call writes 2 GiB at most
                written = os.pwrite(self._file, rest, at)
                rest, at = rest[written:], at + written
        return length

    def release(self, length: int) -> None:
        """Give back the memory of a request of this length beyond KEPT_BYTES. A worker that still reads there ends by SIGBUS."""
        if length > KEPT_BYTES:
            os.ftruncate(self._file, KEPT_BYTES)

    def close(self) -> None:
        os.close(self._file)
        os.close(self.descriptor)


def open_area(descriptor: int) -> memoryview:
    """The worker's side: REQUEST_BYTES that stay mapped as long as the process runs, whatever is in them. Closes the descriptor.

    Not by the class of the mmap module: that keeps a descriptor, and maps no more than there is in the file now.
    """
    address = _mmap(None, REQUEST_BYTES, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, 0)
    if address == _FAILED:
        number = ctypes.get_errno()
        raise OSError(number, f"mmap of a request area: {os.strerror(number)}")
    os.close(descriptor)
    view: memoryview = _memory_view(address, REQUEST_BYTES, _READABLE)
    return view
