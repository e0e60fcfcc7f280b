"""The outside of a WebAssembly binary: imports, exports, memories and tables, read without an engine.

WebAssembly core specification 2.0, §5.5. Sections that say nothing about them are skipped; nothing is validated beyond what is read.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgenode.errors import ModuleError

_MAGIC = b"\0asm\1\0\0\0"
_TYPE, _IMPORT, _FUNCTION, _TABLE, _MEMORY, _EXPORT = 1, 2, 3, 4, 5, 7
_KINDS = ("func", "table", "memory", "global", "tag")
_VALUES = {0x7F: "i32", 0x7E: "i64", 0x7D: "f32", 0x7C: "f64", 0x7B: "v128", 0x70: "funcref", 0x6F: "externref"}
_PAGE = 65536
_LONGEST = 200  # characters of a signature that is written out: each export repeats its own


@dataclass(frozen=True, slots=True)
class Outside:
    """``imports`` and ``exports`` as text, such as ``func edgenode_alloc(i32) -> i32``; ``memories`` are (first, most or None) in bytes,
    ``tables`` the first number of elements of each that the module defines."""

    imports: tuple[str, ...]
    exports: tuple[str, ...]
    memories: tuple[tuple[int, int | None], ...]
    tables: tuple[int, ...]


def read(wasm: bytes) -> Outside:
    """Raises ModuleError for bytes that are not a core WebAssembly module."""
    if not wasm.startswith(_MAGIC):
        raise ModuleError("not a core WebAssembly module", hint="a .wasm binary of version 1; components are another format")
    try:
        return _read(Reader(wasm, len(_MAGIC)))
    except (IndexError, UnicodeDecodeError) as error:
        raise ModuleError("the WebAssembly module is cut off or damaged") from error


def _read(sections: Reader) -> Outside:
    types: list[str] = []
    functions: list[str] = []  # each with its type, imported ones first
    memories: list[tuple[int, int | None]] = []
    imports: tuple[str, ...] = ()
    exports: tuple[str, ...] = ()
    tables: tuple[int, ...] = ()
    while sections.at < len(sections.data):
        kind, size = sections.byte(), sections.u32()
        body = Reader(sections.take(size), 0)
        if kind == _TYPE:
            types = [body.function_type() for _ in range(body.u32())]
        elif kind == _IMPORT:
            imports = tuple(_import(body, types, functions, memories) for _ in range(body.u32()))
        elif kind == _FUNCTION:
            functions += [types[body.u32()] for _ in range(body.u32())]
        elif kind == _TABLE:
            tables = tuple(body.table() for _ in range(body.u32()))
        elif kind == _MEMORY:
            memories += [body.memory() for _ in range(body.u32())]
        elif kind == _EXPORT:
            exports = tuple(_export(body, functions) for _ in range(body.u32()))
    return Outside(imports, exports, tuple(memories), tables)


def _import(body: Reader, types: list[str], functions: list[str], memories: list[tuple[int, int | None]]) -> str:
    name = f"{body.text()}.{body.text()}"
    kind = body.byte()
    signature = ""
    if kind == 0:
        signature = types[body.u32()]
        functions.append(signature)
    elif kind == 1:
        body.table()
    elif kind == 2:
        memories.append(body.memory())
    else:
        body.take(2)  # a global's type and mutability, or a tag's attribute and type
    return f"{_KINDS[kind]} {name}{signature}"


def _export(body: Reader, functions: list[str]) -> str:
    name, kind, index = body.text(), body.byte(), body.u32()
    return f"{_KINDS[kind]} {name}{functions[index] if kind == 0 else ''}"


class Reader:
    """Reads a binary from ``at`` on. Raises IndexError beyond its end."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def take(self, size: int) -> bytes:
        self.at += size
        if self.at > len(self.data):
            raise IndexError
        return self.data[self.at - size : self.at]

    def u32(self) -> int:
        """LEB128 (§5.2.2)."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise IndexError

    def i32(self) -> int:
        """Signed LEB128 (§5.2.2)."""
        value = 0
        for shift in range(0, 35, 7):
            byte = self.byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value - (1 << shift + 7) if byte & 0x40 else value
        raise IndexError

    def text(self) -> str:
        return self.take(self.u32()).decode()

    def limits(self) -> tuple[int, int | None]:
        flags = self.byte()
        first = self.u32()
        return first, self.u32() if flags & 1 else None

    def table(self) -> int:
        self.byte()  # the type of its elements
        return self.limits()[0]

    def memory(self) -> tuple[int, int | None]:
        first, most = self.limits()
        return first * _PAGE, None if most is None else most * _PAGE

    def function_type(self) -> str:
        self.byte()
        given, back = ([_VALUES.get(self.byte(), "?") for _ in range(self.u32())] for _ in range(2))
        text = f"({', '.join(given)})" + (f" -> {', '.join(back)}" if back else "")
        return text if len(text) <= _LONGEST else f"({len(given)} parameters) -> {len(back)} results"


def unsigned(number: int) -> bytes:
    """LEB128 (§5.2.2)."""
    return bytes([number]) if number < 0x80 else bytes([number & 0x7F | 0x80]) + unsigned(number >> 7)


def signed(number: int) -> bytes:
    """Signed LEB128."""
    return bytes([number & 0x7F]) if -0x40 <= number < 0x40 else bytes([number & 0x7F | 0x80]) + signed(number >> 7)
