"""A bare host for the `step` ABI, written from docs/step-abi.md alone: a module is not tested with the code that the node runs it with."""

from __future__ import annotations

import functools
import struct
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cbor2
import wasmtime

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / "wasm-modules"

CONTEXT, PARAMS, STATE, SERIES = 1, 2, 3, 16
SUMMARY, NEXT_STATE, DERIVED, ALERT = 32, 33, 34, 35

FUEL, MEMORY = 10_000_000_000, 256 << 20


@dataclass(frozen=True)
class Series:
    name: str
    unit: str
    times: Sequence[int]
    values: Sequence[float]


@dataclass(frozen=True)
class Context:
    start_ns: int = 0
    end_ns: int = 60_000_000_000
    step: int = 0
    revision: int = 0
    expected: int = 2**64 - 1
    received: int = 0
    late: int = 0
    dropped: int = 0
    seed: bytes = bytes(32)

    def encode(self, series: int) -> bytes:
        counts = (self.expected, self.received, self.late, self.dropped)
        return struct.pack("<qqQIIQQQQ32s", self.start_ns, self.end_ns, self.step, self.revision, series, *counts, self.seed)


@dataclass(frozen=True)
class Reply:
    sections: bytes
    fuel: int
    summary: bytes | None = None
    state: bytes | None = None
    alert: bytes | None = None
    derived: list[Series] = field(default_factory=list)


def pad(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def section(tag: int, body: bytes) -> bytes:
    return struct.pack("<II", tag, len(body)) + pad(body)


def series_body(series: Series) -> bytes:
    name, unit, count = series.name.encode(), series.unit.encode(), len(series.times)
    head = pad(struct.pack("<IHH", count, len(name), len(unit)) + name + unit)
    return head + struct.pack(f"<{count}q", *series.times) + struct.pack(f"<{count}d", *series.values)


def request(series: Sequence[Series] = (), params: bytes = b"", state: bytes = b"", context: Context | None = None) -> bytes:
    series = sorted(series, key=lambda one: one.name.encode())
    parts = [section(CONTEXT, (context or Context()).encode(len(series)))]
    parts += [section(tag, body) for tag, body in ((PARAMS, params), (STATE, state)) if body]
    return b"".join(parts + [section(SERIES, series_body(one)) for one in series])


def decode_series(body: bytes) -> Series:
    count, name, unit = struct.unpack_from("<IHH", body)
    columns = len(pad(body[: 8 + name + unit]))
    assert len(body) == columns + 16 * count and not any(body[8 + name + unit : columns])
    times = struct.unpack_from(f"<{count}q", body, columns)
    values = struct.unpack_from(f"<{count}d", body, columns + 8 * count)
    return Series(body[8 : 8 + name].decode(), body[8 + name : 8 + name + unit].decode(), times, values)


def decode_reply(sections: bytes, fuel: int) -> Reply:
    once: dict[int, bytes] = {}
    derived: list[Series] = []
    at = 0
    while at < len(sections):
        tag, length = struct.unpack_from("<II", sections, at)
        body = sections[at + 8 : at + 8 + length]
        end = at + 8 + len(pad(body))
        assert len(body) == length and not any(sections[at + 8 + length : end])
        if tag == DERIVED:
            derived.append(decode_series(body))
        else:
            assert tag in (SUMMARY, NEXT_STATE, ALERT) and tag not in once
            once[tag] = body
        at = end
    assert at == len(sections)
    return Reply(sections, fuel, once.get(SUMMARY), once.get(NEXT_STATE), once.get(ALERT), derived)


def decode_cbor(body: bytes | None) -> Any:
    """The value, if `body` is deterministic CBOR with binary64 floats: no other encoding of the same value is let through."""
    assert body is not None
    value = cbor2.loads(body)
    assert encode_cbor(value) == body
    return value


def encode_cbor(value: Any) -> bytes:
    if isinstance(value, dict):
        entries = sorted(encode_cbor(key) + encode_cbor(item) for key, item in value.items())
        return _head(5, len(value)) + b"".join(entries)
    if isinstance(value, list):
        return _head(4, len(value)) + b"".join(map(encode_cbor, value))
    if isinstance(value, float):
        return b"\xfb" + struct.pack(">d", value)
    return cbor2.dumps(value)


def _head(major: int, count: int) -> bytes:
    head = cbor2.dumps(count)
    return bytes([major << 5 | head[0]]) + head[1:]


@functools.cache
def engine(target: str | None = None) -> wasmtime.Engine:
    config = wasmtime.Config()
    if target is not None:
        config.target = target
    config.consume_fuel = True
    config.cranelift_nan_canonicalization = True
    config.memory_init_cow = False
    # SIMD is not among what a node turns off; the modules do without it all the same.
    for feature in ("threads", "memory64", "multi_memory", "simd", "relaxed_simd", "gc", "exceptions", "component_model"):
        setattr(config, f"wasm_{feature}", False)
    return wasmtime.Engine(config)


@functools.cache
def module(path: Path, target: str | None = None) -> wasmtime.Module:
    return wasmtime.Module.from_file(engine(target), str(path))


def committed(name: str, target: str | None = None) -> wasmtime.Module:
    return module(MODULES / name / f"{name}.wasm", target)


def manifest(name: str) -> dict[str, Any]:
    return tomllib.loads((MODULES / name / "manifest.toml").read_text())


@dataclass(frozen=True)
class Instance:
    store: wasmtime.Store
    allocate: wasmtime.Func
    step: wasmtime.Func
    memory: wasmtime.Memory


def instantiate(guest: wasmtime.Module, *, fuel: int = FUEL, memory: int = MEMORY, target: str | None = None) -> Instance:
    store = wasmtime.Store(engine(target))
    store.set_fuel(fuel)
    store.set_limits(memory_size=memory)
    exports = wasmtime.Instance(store, guest, []).exports(store)
    allocate, step, linear = exports["edgenode_alloc"], exports["edgenode_step"], exports["memory"]
    assert isinstance(allocate, wasmtime.Func) and isinstance(step, wasmtime.Func) and isinstance(linear, wasmtime.Memory)
    return Instance(store, allocate, step, linear)


def run(guest: wasmtime.Module, data: bytes, *, fuel: int = FUEL, memory: int = MEMORY, target: str | None = None) -> Reply:
    """One step in a fresh instance. Raises wasmtime.Trap when the guest fails."""
    instance = instantiate(guest, fuel=fuel, memory=memory, target=target)
    store, linear = instance.store, instance.memory
    at = instance.allocate(store, len(data)) & 0xFFFFFFFF
    assert at != 0 and at % 8 == 0
    linear.write(store, data, at)
    packed = instance.step(store, at, len(data)) & 0xFFFFFFFFFFFFFFFF
    address, length = packed >> 32, packed & 0xFFFFFFFF
    assert address + length <= linear.data_len(store)
    reply = bytes(linear.read(store, address, address + length))
    return decode_reply(reply, fuel - store.get_fuel())
