"""Calls of the C library that Python has no function for."""

from __future__ import annotations

import ctypes
import os
from typing import Final, TypeAlias

LIBC: Final = ctypes.CDLL(None, use_errno=True)

Argument: TypeAlias = int | bytes | ctypes.Array[ctypes.c_char] | None


def call(name: str, *arguments: Argument) -> int:
    """The result of a function that returns an int, or is ``syscall``; integers are passed as long. Raises OSError where it is -1."""
    passed = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = int(LIBC[name](*passed))
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}{arguments}: {os.strerror(number)}")
    return result
