"""The only reader of time. Everything else is handed a Clock, so that tests can stop it and turn it back."""

from __future__ import annotations

import ctypes
import sys
import time
from typing import Protocol

from edgenode.records import ClockState

BUILD_TIME = 1_795_392_000  # 2026-11-23: no clock that reads earlier can be right

_STA_UNSYNC = 0x0040  # include/uapi/linux/timex.h


class Clock(Protocol):
    def now_ns(self) -> int:
        """Wall-clock time, ns since 1970."""

    def monotonic_ns(self) -> int:
        """Time that never goes back, ns since an unnamed moment."""

    def state(self) -> ClockState:
        """Whether wall-clock time can be believed."""


def seconds(clock: Clock) -> int:
    """Wall-clock time in whole seconds since 1970, as documents carry it."""
    return clock.now_ns() // 1_000_000_000


class SystemClock:
    """The machine's clock. Its state is the kernel's own word (adjtimex(2)), and ``unknown`` below the floor."""

    def __init__(self, floor: int = BUILD_TIME) -> None:
        self._floor_ns = floor * 1_000_000_000

    def now_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    def state(self) -> ClockState:
        if self.now_ns() < self._floor_ns:
            return ClockState.UNKNOWN
        return ClockState.SYNCHRONISED if _kernel_synchronised() else ClockState.ESTIMATED


class _Timex(ctypes.Structure):
    # struct timex is 208 bytes on 64-bit Linux; only modes and status are used here.
    _fields_ = [
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_byte * 256),
    ]


_timex = _Timex()  # modes stays 0: only asked, never set
_adjtimex = ctypes.CDLL(None).adjtimex if sys.platform == "linux" else None


def _kernel_synchronised() -> bool:
    return _adjtimex is not None and int(_adjtimex(ctypes.byref(_timex))) >= 0 and not _timex.status & _STA_UNSYNC
