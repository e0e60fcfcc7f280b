"""A guest's operating system, which is wasm itself: README.md says how it is built and joined to a guest."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType


@functools.cache
def parts() -> Mapping[str, bytes]:
    """The binaries by name: ``wasi`` has the calls of preview 1, and ``bridge`` lets it reach the guest's memory."""
    return MappingProxyType({name: Path(__file__).with_name(f"{name}.wasm").read_bytes() for name in ("wasi", "bridge")})
