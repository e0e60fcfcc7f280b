"""Generated step modules: program N is the same on every machine and Python. ``python -m tests.determinism.programs N`` prints it.

Each is valid, imports nothing and does arithmetic, memory, table and control work of all kinds, mostly within bounds; every second one has
an ending of some class, in the step, below it, in ``_initialize`` or in the start section. What it computed stands in its globals and its
memory, and the reply shows all of them, so that a difference anywhere is a difference of bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import wasmtime

from .body import Body, Chance, Function, Scope, Sexp, constant
from .endings import ENDINGS, NOBODY, ZERO, wide
from .instructions import F32, F64, FLOATS, I32, I64, V128, VALUES, Type
from .layout import ARENA, EMPTY, GLOBALS, PAGE_BYTES, PAGES, REPLY_AT, REQUEST_AT, ROOM, SEGMENT, SLOTS, TAKEN

FUEL = 1_000_000
SHORT = 20_000  # fuel that many programs need more than

OUTSIDE = ("memory", "data", "elements", "allocation", "reply", "bounds", "output")
"""Endings that stand outside a function's statements."""

_SUMMARY, _STATE, _DERIVED, _ALERT = 32, 33, 34, 35


@dataclass(frozen=True)
class Program:
    """``fuel`` and ``memory`` (bytes) are its budget."""

    number: int
    module: Sexp
    request: bytes
    fuel: int
    memory: int = PAGES * PAGE_BYTES

    @property
    def wat(self) -> str:
        return render(self.module)

    @property
    def wasm(self) -> bytes:
        return bytes(wasmtime.wat2wasm(self.wat))


def program(number: int) -> Program:
    chance = Chance(number)
    module = _Module(chance).finished()
    request = b"".join(chance.bits().to_bytes(8, "little") for _ in range(chance.below(16)))
    return Program(number, module, request, 1 + chance.below(SHORT) if chance.one_in(12) else FUEL)


def render(sexp: Sexp, indent: str = "\n") -> str:
    """WAT, a line for each expression that holds others."""
    if not isinstance(sexp, tuple):
        return str(sexp)
    deeper = f"{indent}  "
    apart = any(_holds(part) for part in sexp)
    parts = [(deeper if apart and isinstance(part, tuple) else " ") + render(part, deeper) for part in sexp]
    return f"({''.join(parts).lstrip()})"


def _holds(sexp: Sexp) -> bool:
    return isinstance(sexp, tuple) and any(isinstance(part, tuple) for part in sexp)


class _Module:
    def __init__(self, chance: Chance) -> None:
        self._chance = chance
        self._ending = chance.pick((*ENDINGS, *ENDINGS, *OUTSIDE)) if chance.one_in(2) else ""
        self._place = chance.pick(("$step", "$step", "$work", "$start", "$initialize"))  # of an ending among statements
        self._types: list[Sexp] = [("type", NOBODY, ("func", ("param", *FLOATS, *FLOATS)))]
        self._functions: list[Sexp] = []
        self._slots: list[Function | None] = []

    def finished(self) -> Sexp:
        self._add_functions()
        self._add_interface()
        pages = PAGES + 1 if self._ending == "memory" else 1 + self._chance.below(2)
        most = (self._chance.pick((PAGES + 1, 100)),) if self._chance.one_in(2) else ()
        slots = (("ref.func", one.name) if one else ("ref.null", "func") for one in self._slots)
        data = pages * PAGE_BYTES - 3 if self._ending == "data" else 64
        elements = 1 if self._ending == "elements" else 0
        return (
            "module",
            *self._types,
            ("memory", ("export", '"memory"'), pages, *most),
            ("table", "$fixed", SLOTS, "funcref"),
            ("table", "$loose", SLOTS, SLOTS + ROOM, "funcref"),
            *self._globals(),
            ("data", "$passive", self._text(SEGMENT)),
            ("data", ("i32.const", data), self._text(2 * SEGMENT)),
            ("elem", ("table", "$fixed"), ("i32.const", elements), "funcref", *slots),
            ("elem", "$spare", "funcref", ("ref.func", "$leaf0"), ("ref.null", "func"), ("ref.func", "$leaf1")),
            *self._functions,
        )

    def _add_functions(self) -> None:
        """Leaves, which call nothing and stand in $fixed; functions that recur; and those that may each call all before them."""
        signatures = [self._signature(number) for number in range(5)]
        leaves = [Function(f"$leaf{number}", *self._chance.pick(signatures)) for number in range(4)]
        branches = [Function(f"$branch{number}", *self._chance.pick(signatures)) for number in range(3)]
        nothing = Scope((), ())
        for one in leaves:
            self._add(one, nothing)
        callees = [*leaves, *(self._add_recurring(name, mask, nothing) for name, mask in (("$recurse", 63), ("$spin", 1023)))]
        self._add_recurring("$deep", -1, nothing)
        self._slots = [None if self._chance.one_in(4) else self._chance.pick(leaves) for _ in range(SLOTS)]
        self._slots[TAKEN], self._slots[EMPTY] = leaves[0], None
        for one in (*branches, Function("$work", "", (), ())):
            self._add(one, Scope(tuple(callees), self._slots))
            callees.append(one)
        scope = Scope(callees, self._slots)
        for name, export in (("$start", ""), ("$initialize", "_initialize")):
            if name == self._place or self._chance.one_in(4):
                self._add(Function(name, "", (), ()), scope, export)
                if not export:
                    self._functions.append(("start", name))

    def _signature(self, number: int) -> tuple[str, tuple[Type, ...], tuple[Type, ...]]:
        params = tuple(self._chance.pick(VALUES) for _ in range(self._chance.below(4)))
        results = tuple(self._chance.pick(VALUES) for _ in range(1 if number < 3 else 2 + self._chance.below(2)))
        self._types.append(("type", f"$t{number}", ("func", *_listed("param", params), *_listed("result", results))))
        return f"$t{number}", params, results

    def _add(self, one: Function, scope: Scope, export: str = "") -> None:
        body = Body(self._chance, scope, one.params, one.results)
        code = body.statements(2 + self._chance.below(3), 3)
        code += [*self._end(one.name), *body.tail(4)]
        self._define(one, body.locals, code, export)

    def _add_recurring(self, name: str, mask: int, scope: Scope) -> Function:
        """A function that calls itself as often as the masked bits of its first argument say; ``$spin`` in its own place."""
        one = Function(name, "", (I32, I64), (I64,))
        body = Body(self._chance, scope, one.params, one.results)
        left = ("i32.and", ("local.get", 0), ("i32.const", mask))
        again = (name, ("i32.sub", left, ("i32.const", 1)), ("i64.xor", ("local.get", 1), body.expression(I64, 3)))
        more: Sexp = ("return_call", *again) if name == "$spin" else ("i64.add", ("call", *again), ("local.get", 1))
        self._define(one, body.locals, [("if", ("result", I64), left, ("then", more), ("else", ("local.get", 1)))])
        return one

    def _add_interface(self) -> None:
        """The functions of the ABI, as docs/step-abi.md has them."""
        at = self._chance.pick((0, 12, PAGES * PAGE_BYTES - 4, -8)) if self._ending == "allocation" else REQUEST_AT
        self._define(Function("$alloc", "", (I32,), (I32,)), (), [("i32.const", at)], "edgenode_alloc")
        step = Function("$step", "", (I32, I32), (I64,))
        hashed, address = 2, 3
        code: list[Sexp] = [
            ("memory.copy", ("i32.const", 0), ("local.get", 0), ("local.get", 1)),
            ("call", "$work"),
            *self._end(step.name),
            *_hash(hashed, address),
            *self._answer(("local.get", hashed)),
        ]
        self._define(step, (I64, I32), code, "edgenode_step")

    def _define(self, one: Function, variables: Sequence[Type], code: list[Sexp], export: str = "") -> None:
        shown: tuple[Sexp, ...] = (("export", f'"{export}"'),) if export else ()
        head = (*_listed("param", one.params), *_listed("result", one.results), *_listed("local", variables))
        self._functions.append(("func", one.name, *shown, *head, *code))

    def _end(self, function: str) -> list[Sexp]:
        return [ENDINGS[self._ending](self._chance)] if function == self._place and self._ending in ENDINGS else []

    def _answer(self, hashed: Sexp) -> list[Sexp]:
        """Write the sections of the reply, all in words of 8 bytes, and give its pointer and length."""
        summary = [word for one in VALUES for number in range(GLOBALS) for word in _words(one, ("global.get", f"${one}_{number}"))]
        summary += [hashed, *(wide(size) for size in (("memory.size",), ("table.size", "$fixed"), ("table.size", "$loose")))]
        values: list[Sexp] = [("i64.reinterpret_f64", ("global.get", f"$f64_{number}")) for number in range(2)]
        # Two samples of a channel x without a unit, at the times 1 and 2.
        derived = [*(("i64.const", word) for word in (2 | 1 << 32, ord("x"), 1, 2)), *values]
        sections: list[tuple[int, list[Sexp]]] = [(_SUMMARY, summary)]
        sections += [(_STATE, [("i64.load", ("i32.const", 8 * number)) for number in range(8)])] * self._chance.below(2)
        sections += [(_DERIVED, derived)] * self._chance.below(2)
        sections += [(_ALERT, [hashed])] * self._chance.below(2)
        if self._ending == "reply":
            sections.append(self._chance.pick(((99, []), (_SUMMARY, []), (_DERIVED, [hashed]))))
        if self._ending == "output":
            sections = [(self._chance.pick((_SUMMARY, _STATE, _DERIVED, _ALERT)), [hashed] * (ARENA // 8))]
        words = [word for tag, body in sections for word in (("i64.const", tag | 8 * len(body) << 32), *body)]
        size = self._chance.pick((PAGES * PAGE_BYTES, 2**32 - 1)) if self._ending == "bounds" else 8 * len(words)
        stores = [("i64.store", ("i32.const", REPLY_AT + 8 * number), word) for number, word in enumerate(words)]
        return [*stores, ("i64.const", REPLY_AT << 32 | size)]

    def _globals(self) -> Iterator[Sexp]:
        yield ("global", ZERO, ("mut", I32), ("i32.const", 0))
        for one in VALUES:
            for number in range(GLOBALS):
                yield ("global", f"${one}_{number}", ("mut", one), constant(self._chance, one))

    def _text(self, size: int) -> str:
        return '"' + "".join(f"\\{self._chance.below(256):02x}" for _ in range(size)) + '"'


def _listed(keyword: str, types: Sequence[Type]) -> tuple[Sexp, ...]:
    return ((keyword, *types),) if types else ()


def _hash(hashed: int, address: int) -> list[Sexp]:
    """The whole memory in one number: FNV-1a over words of 8 bytes, with a rotation."""
    mixed = ("i64.mul", ("i64.xor", ("local.get", hashed), ("i64.load", ("local.get", address))), ("i64.const", 0x100000001B3))
    return [
        (
            *("loop", "$hash"),
            ("local.set", hashed, ("i64.rotl", mixed, ("i64.const", 29))),
            ("local.set", address, ("i32.add", ("local.get", address), ("i32.const", 8))),
            ("br_if", "$hash", ("i32.lt_u", ("local.get", address), ("i32.shl", ("memory.size",), ("i32.const", 16)))),
        )
    ]


def _words(type: Type, value: Sexp) -> list[Sexp]:
    """A value as words of 8 bytes, with every bit of it."""
    if type == V128:
        return [("i64x2.extract_lane", lane, value) for lane in range(2)]
    if type == F64:
        return [("i64.reinterpret_f64", value)]
    if type == F32:
        return [wide(("i32.reinterpret_f32", value))]
    return [wide(value) if type == I32 else value]


if __name__ == "__main__":
    print(program(int(sys.argv[1])).wat)
