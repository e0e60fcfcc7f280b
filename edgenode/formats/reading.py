"""The node's word on what it has to compute with, measured when it started."""

from __future__ import annotations

from dataclasses import dataclass

from edgenode.records import DIGEST_BYTES, KEY_BYTES, PRINTABLE, key


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    node: bytes = key(1, size=KEY_BYTES)
    issued: int = key(2)  # s
    engine: str = key(3, longest=64, pattern=PRINTABLE)  # "wasmtime 50.0.1": fuel is comparable within one version
    config: bytes = key(4, size=DIGEST_BYTES)  # of the engine's Config, for the ``step`` ABI
    mode: str = key(5, longest=16, pattern=PRINTABLE)  # native, pulley
    fuel_per_second: int = key(6, low=1)  # of one worker, over sandbox.calibration's guest
    workers: int = key(7, low=1)
    memory: int = key(8, low=1)  # of the machine, bytes
    cpus: int = key(9, low=1)  # logical ones, of the machine
    architecture: str = key(10, longest=32, pattern=PRINTABLE)  # x86_64, aarch64
