"""The one wasmtime Config. What stands in ``FLAGS`` is what makes two runs of a step give the same bytes and the same fuel.

Imported only by the processes of the sandbox: the worker and the compiling child.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import wasmtime
from wasmtime import _ffi as ffi

from edgenode.formats.data_segments import GAP_BYTES, MOST
from edgenode.formats.stdin import CONVERSIONS
from edgenode.records import Engine, digest
from edgenode.sandbox import wasi
from edgenode.sandbox.image import STDERR_BYTES

FLAGS: Final[Mapping[str, bool | int]] = MappingProxyType(
    {
        # Determinism.
        "consume_fuel": True,
        "cranelift_nan_canonicalization": True,  # the bits of a NaN differ between CPUs without it
        "memory_init_cow": False,  # data segments written as wasm writes them, and metered: with copy-on-write they cost no fuel
        "epoch_interruption": False,  # wall-clock time never ends a step
        "max_wasm_stack": 512 * 1024,  # bytes; how many calls fit in it still differs by CPU, hence the outcome ``stack``
        # The language: WebAssembly 2.0 without externref, and tail calls, which compilers emit and which are deterministic.
        "wasm_bulk_memory": True,
        "wasm_multi_value": True,
        "wasm_reference_types": True,
        "wasm_simd": True,
        "wasm_tail_call": True,
        "wasm_multi_memory": True,  # for the bridge of wasi/ alone: guests are validated with GUEST
        # Off: not deterministic (threads, relaxed SIMD), or no step needs it.
        "concurrency_support": False,
        "gc_support": False,
        "shared_memory": False,
        "wasm_branch_hinting": False,
        "wasm_compact_imports": False,
        "wasm_component_model": False,
        "wasm_custom_page_sizes": False,
        "wasm_exceptions": False,
        "wasm_function_references": False,
        "wasm_gc": False,
        "wasm_memory64": False,
        "wasm_relaxed_simd": False,
        "wasm_stack_switching": False,
        "wasm_threads": False,
        "wasm_wide_arithmetic": False,
    }
)
"""Name in the C API (``wasmtime_config_<name>_set``) -> value. The Python class lacks setters for some of them."""

GUEST: Final[Mapping[str, bool | int]] = MappingProxyType({**FLAGS, "wasm_multi_memory": False})
"""What a guest may use. The store's limit is for each memory, so with several memories a guest had several times its limit."""

TABLES: Final = 4  # of one guest
TABLE_ELEMENTS: Final = 100_000  # of one table; table.grow beyond it returns -1, as memory.grow does beyond the memory limit


DEEP: Final = 4  # times the stack that a replayer gives itself, so that its own stack is not what ends a step that ended elsewhere


def create(target: str | None = None, *, flags: Mapping[str, bool | int] = FLAGS, deep: bool = False) -> wasmtime.Engine:
    """An engine with the Config. ``target``: None for this CPU's machine code, or wire.PULLEY for wasmtime's portable interpreter;
    ``deep``: with the stack of a replayer."""
    config = wasmtime.Config()
    for name, value in {**flags, "max_wasm_stack": flags["max_wasm_stack"] * (DEEP if deep else 1)}.items():
        getattr(ffi, f"wasmtime_config_{name}_set")(config.ptr(), value)
    config.parallel_compilation = False  # the compiling child may start no threads; the code is the same either way
    if target is not None:
        config.target = target
    return wasmtime.Engine(config)


def describe() -> Engine:
    """Version, Config and library of the engine. Reads the whole shared library once, about 30 MB."""
    with Path(ffi.filename).open("rb", buffering=0) as library:
        measured = hashlib.file_digest(library, "sha256").digest()
    return Engine(f"wasmtime {_version()}", digest(step_text().encode()), digest(command_text().encode()), measured)


def step_text() -> str:
    """What decides the result of a ``step`` module beside its inputs, as canonical text: the same on every CPU and target."""
    settings = {
        **FLAGS,
        "guest_multi_memory": False,
        "limit_tables": TABLES,
        "limit_table_elements": TABLE_ELEMENTS,
        "data_segments_joined_above": MOST,
        "data_segments_joined_gap": GAP_BYTES,
    }
    return "edgenode sandbox 2\n" + "".join(f"{name} {int(value)}\n" for name, value in sorted(settings.items()))


def command_text() -> str:
    """The same of a ``wasi-command``: its operating system and the form of its input decide as well."""
    parts = "".join(f"{name} {digest(wasm).hex()}\n" for name, wasm in wasi.parts().items())
    return f"{step_text()}stdin {CONVERSIONS}\nstderr {STDERR_BYTES}\n{parts}"


def _version() -> str:
    # The package has no version attribute, and importlib.metadata costs a worker 5 MB: read the folder's name, as it would.
    folders = list(Path(wasmtime.__file__).parents[1].glob("wasmtime-*.dist-info"))
    if len(folders) != 1:
        raise RuntimeError(f"{len(folders)} dist-info folders beside the wasmtime package, not one: install it again")
    return folders[0].name.removeprefix("wasmtime-").removesuffix(".dist-info")
