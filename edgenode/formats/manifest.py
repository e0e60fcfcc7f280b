"""The publisher's statement about a module: what it is, what it may read and say, and what it may use."""

from __future__ import annotations

from dataclasses import dataclass

from edgenode.records import DIGEST_BYTES, PRINTABLE, Abi, Capabilities, Limits, key

FRAME = "application/vnd.edgenode.frame"
NAME = r"[a-z0-9][a-z0-9._-]{0,63}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    module: bytes = key(1, size=DIGEST_BYTES)  # SHA-256 of the wasm binary
    size: int = key(2, low=8)  # of the binary, bytes
    name: str = key(3, pattern=NAME)
    version: str = key(4, longest=32, pattern=PRINTABLE)  # for people
    sequence: int = key(5)  # for machines: a lower one never replaces a higher one by itself
    abi: Abi = key(6)
    input: str = key(7, longest=64)  # media type in which samples are handed over
    output: str = key(8, longest=64)  # media type of summary and alerts
    capabilities: Capabilities = key(9)
    limits: Limits = key(10)
    issued: int = key(11)  # s
