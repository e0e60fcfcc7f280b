"""Guests in WAT, and what is needed to run them."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Any

import wasmtime

from edgenode.formats.manifest import FRAME, Manifest
from edgenode.records import Abi, Capabilities, Completeness, Limits, StepContext, StepResult, Window, digest
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import VerifiedModule, unsigned_module

REQUEST_AT = 1024
REPLY_AT = 4096
PARAMS_OFFSET = 8 + 96 + 8  # of the params' bytes in a request

LIMITS = Limits(fuel=10_000_000, memory=1 << 20)
CAPABILITIES = Capabilities(channels=("*",), summary=64, derived=256, alerts=32, derives=("*",))
CONTEXT = StepContext(
    window=Window(start_ns=1_000, end_ns=2_000), step=7, revision=1, seed=bytes(range(32)), completeness=Completeness(received=0)
)

ALLOC = f'(func (export "edgenode_alloc") (param i32) (result i32) i32.const {REQUEST_AT})'


def guest(step: str, *, memory: str = "1", more: str = "", alloc: str = ALLOC) -> bytes:
    """A ``step`` module whose edgenode_step has the body ``step``; $ptr and $len are its parameters."""
    return binary(
        f"""(module
            (memory (export "memory") {memory})
            {alloc}
            {more}
            (func (export "edgenode_step") (param $ptr i32) (param $len i32) (result i64) {step}))"""
    )


def binary(wat: str) -> bytes:
    return bytes(wasmtime.wat2wasm(wat))


def replying(reply: bytes, *, more: str = "") -> bytes:
    """A guest that gives these bytes, whatever it is asked."""
    data = "".join(f"\\{byte:02x}" for byte in reply)
    return guest(answer(len(reply)), more=f'(data (i32.const {REPLY_AT}) "{data}") {more}')


def answer(length: int, at: int = REPLY_AT) -> str:
    return f"i64.const {at << 32 | length}"


def section(tag: int, body: bytes) -> bytes:
    return struct.pack("<II", tag, len(body)) + body + bytes(-len(body) % 8)


def series(name: str, unit: str, times: Sequence[int], values: Sequence[float]) -> bytes:
    """The body of a series section."""
    texts = name.encode(), unit.encode()
    head = struct.pack("<IHH", len(times), *map(len, texts)) + b"".join(texts)
    columns = struct.pack(f"<{len(times)}q", *times) + struct.pack(f"<{len(values)}d", *values)
    return head + bytes(-len(head) % 8) + columns


def module(wasm: bytes, *, abi: Abi = Abi.STEP, capabilities: Capabilities = CAPABILITIES, media_type: str = FRAME) -> VerifiedModule:
    manifest = Manifest(
        module=digest(wasm),
        size=len(wasm),
        name="guest",
        version="1",
        sequence=1,
        abi=abi,
        input=media_type,
        output="application/json",
        capabilities=capabilities,
        limits=LIMITS,
        issued=0,
    )
    return unsigned_module(wasm, manifest)


def run(pool: Pool, wasm: bytes | VerifiedModule, **changes: Any) -> StepResult:
    """One step; ``changes`` replace parts of an ordinary call."""
    verified = module(wasm) if isinstance(wasm, bytes) else wasm
    call: dict[str, Any] = {"context": CONTEXT, "params": b"", "state": b"", "frame": b"", "limits": LIMITS}
    return pool.run(verified, **(call | changes))


Run = Callable[..., StepResult]
ENDLESS = guest("(loop br 0) unreachable")
HELLO = replying(section(32, b"hello"))
