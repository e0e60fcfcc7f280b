"""Typed bodies of generated functions, as S-expressions: every expression has the type that was asked for, so every program is valid."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias, TypeVar

from .instructions import (
    BITS,
    F32,
    F64,
    FLOATS,
    FUNCREF,
    I32,
    I64,
    INTEGERS,
    LOADS,
    SCALAR,
    STORES,
    TRAPPING,
    V128,
    VALUES,
    VECTOR,
    Access,
    Operator,
    Type,
)
from .layout import ARENA, GLOBALS, SEGMENT, SLOTS

Sexp: TypeAlias = "tuple[Sexp, ...] | str | int"
T = TypeVar("T")

WILD = 220  # one in so many operands is left as it comes, and may trap

_MASK = (1 << 64) - 1
_EDGES = (0, 1, 2, 7, 31, 32, 63, 64, 127, 128, 255, 32767, 32768, 65535, 65536)


class Chance:
    """SplitMix64 (Steele, Lea and Flood 2014): one seed gives the same numbers on every Python, which ``random`` does not promise."""

    def __init__(self, seed: int) -> None:
        self._state = seed

    def bits(self) -> int:
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = (self._state ^ self._state >> 30) * 0xBF58476D1CE4E5B9 & _MASK
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & _MASK
        return mixed ^ mixed >> 31

    def below(self, bound: int) -> int:
        return self.bits() % bound

    def one_in(self, count: int) -> bool:
        return self.below(count) == 0

    def pick(self, items: Sequence[T]) -> T:
        return items[self.below(len(items))]


class Function(NamedTuple):
    """``signature`` names a type of the module."""

    name: str
    signature: str
    params: tuple[Type, ...]
    results: tuple[Type, ...]


class Scope(NamedTuple):
    """What of the module a body may use. Callees never lead back to it, so nothing recurs unless it is meant to."""

    callees: Sequence[Function]
    slots: Sequence[Function | None]  # of $fixed, the table that nobody writes to: functions that call nothing


class Body:
    """The body of one function, made piece by piece."""

    def __init__(self, chance: Chance, scope: Scope, params: Sequence[Type], results: Sequence[Type]) -> None:
        self.locals: list[Type] = []  # beside the parameters
        self._chance, self._scope, self._params, self._results = chance, scope, len(params), tuple(results)
        self._variables: dict[Type, list[int]] = {one: [] for one in (*VALUES, FUNCREF)}
        for number, one in enumerate(params):
            self._variables[one].append(number)
        for one in (*VALUES, FUNCREF):
            self._variables[one].append(self.local(one))
        self._labels = 0

    def local(self, type: Type) -> int:
        """A new local, which statements do not change unless they are told to."""
        self.locals.append(type)
        return self._params + len(self.locals) - 1

    # expressions

    def expression(self, type: Type, depth: int) -> Sexp:
        """One value. ``depth`` bounds how far it nests."""
        if depth <= 0 or self._chance.one_in(5):
            return self._leaf(type)
        return self._chance.pick(_FORMS[type])(self, type, depth - 1)

    def constant(self, type: Type) -> Sexp:
        if type != FUNCREF:
            return constant(self._chance, type)
        referred = self._chance.pick(self._scope.slots or (None,))
        return ("ref.func", referred.name) if referred else ("ref.null", "func")

    def _leaf(self, type: Type) -> Sexp:
        kind = self._chance.below(4)
        if kind == 0:
            return self.constant(type)
        if kind == 1 and type != FUNCREF:
            return ("global.get", self._global(type))
        return ("local.get", self._chance.pick(self._variables[type]))

    def _operator(self, type: Type, depth: int) -> Sexp:
        # As many vector operators as scalar ones would drown the scalar ones, which programs are made of.
        vector = type == V128 or (self._chance.one_in(6) and type in VECTOR)
        return self._applied(self._chance.pick((VECTOR if vector else SCALAR)[type]), depth)

    def _applied(self, operator: Operator, depth: int) -> Sexp:
        immediates = (self._chance.below(bound) for bound in operator.immediates)
        return (operator.name, *immediates, *(self.expression(one, depth) for one in operator.takes))

    def _trapping(self, type: Type, depth: int) -> Sexp:
        """Division or truncation, mostly of operands that it has a result for."""
        operator = self._chance.pick(TRAPPING[type])
        if self._chance.one_in(WILD // 4):
            return self._applied(operator, depth)
        if operator.takes[0] in INTEGERS:
            divisor = (f"{type}.or", self.expression(type, 0), (f"{type}.const", 1))
            return (operator.name, self.expression(type, depth), divisor)
        of, sign = operator.takes[0], operator.name[-1]
        fraction = (f"{of}.convert_i32_s", (f"i32.shr_{sign}", self.expression(I32, depth), ("i32.const", 8)))
        return (operator.name, (f"{of}.mul", fraction, (f"{of}.const", "0x1.6p-2")))

    def _tee(self, type: Type, depth: int) -> Sexp:
        return ("local.tee", self._chance.pick(self._variables[type]), self.expression(type, depth))

    def _load(self, type: Type, depth: int) -> Sexp:
        return self._accessed(self._chance.pick(LOADS[type]), depth)

    def _select(self, type: Type, depth: int) -> Sexp:
        typed: tuple[Sexp, ...] = (("result", type),) if type == FUNCREF or self._chance.one_in(2) else ()
        return ("select", *typed, self.expression(type, depth), self.expression(type, depth), self._condition(depth))

    def _if(self, type: Type, depth: int) -> Sexp:
        then, otherwise = (self._branch(type, depth) for _ in range(2))
        return ("if", ("result", type), self._condition(depth), ("then", *then), ("else", *otherwise))

    def _branch(self, type: Type, depth: int) -> list[Sexp]:
        before = self.statement(depth - 1) if self._chance.one_in(3) else []
        return [*before, self.expression(type, depth)]

    def _block(self, type: Type, depth: int) -> Sexp:
        label = self._label()
        left = ("drop", ("br_if", label, self.expression(type, depth), self._condition(depth)))
        last = self.expression(type, depth)
        return ("block", label, ("result", type), left, ("br", label, last) if self._chance.one_in(4) else last)

    def _call(self, type: Type, depth: int) -> Sexp:
        callees = [one for one in self._scope.callees if one.results == (type,)]
        return self.call(self._chance.pick(callees), depth) if callees else self._operator(type, depth)

    def call(self, callee: Function, depth: int) -> Sexp:
        return ("call", callee.name, *(self.expression(one, min(depth, 1)) for one in callee.params))

    def _call_indirect(self, type: Type, depth: int) -> Sexp:
        slots = self._giving((type,))
        return self._through_table("call_indirect", self._chance.pick(slots)) if slots else self._operator(type, depth)

    def _giving(self, results: tuple[Type, ...]) -> list[int]:
        """The slots of $fixed with a function that gives these."""
        return [number for number, one in enumerate(self._scope.slots) if one and one.results == results]

    def _through_table(self, instruction: str, slot: int) -> Sexp:
        callee = self._scope.slots[slot]
        assert callee is not None
        arguments = (self.expression(one, 1) for one in callee.params)
        table, index = ("$loose", self._slot()) if self._chance.one_in(WILD // 4) else ("$fixed", ("i32.const", slot))
        return (instruction, table, ("type", callee.signature), *arguments, index)

    def _memory_size(self, type: Type, depth: int) -> Sexp:
        if self._chance.one_in(2):
            return ("memory.size",)
        by = ("i32.const", self._chance.pick((0, 1, 1, 2, 65535)))
        return ("memory.grow", by if self._chance.one_in(2) else self.expression(I32, 0))

    def _table(self, type: Type, depth: int) -> Sexp:
        table, kind = self._chance.pick(("$fixed", "$loose")), self._chance.below(4)
        if kind == 0:
            return ("table.size", table)
        if kind == 1:
            by = ("i32.const", self._chance.pick((1, 2, 99_999, -1)))
            return ("table.grow", "$loose", self.expression(FUNCREF, 0), by if self._chance.one_in(2) else self.expression(I32, 0))
        return ("ref.is_null", self.expression(FUNCREF, depth) if kind == 2 else ("table.get", table, self._slot()))

    def _table_get(self, type: Type, depth: int) -> Sexp:
        return ("table.get", self._chance.pick(("$fixed", "$loose")), self._slot())

    # statements

    def statements(self, count: int, depth: int) -> list[Sexp]:
        return [one for _ in range(count) for one in self.statement(depth)]

    def statement(self, depth: int) -> list[Sexp]:
        if depth <= 0:
            return self._set_global(0)
        return self._chance.pick(_STATEMENTS)(self, depth - 1)

    def tail(self, depth: int) -> list[Sexp]:
        """What the function ends with: its results, one by one or by a call in their place."""
        calls: list[Sexp] = [
            ("return_call", callee.name, *(self.expression(one, 2) for one in callee.params))
            for callee in self._scope.callees
            if callee.results == self._results
        ]
        calls += [self._through_table("return_call_indirect", slot) for slot in self._giving(self._results)]
        return [self._chance.pick(calls)] if calls and self._chance.one_in(2) else self._given(depth)

    def _return(self, depth: int) -> list[Sexp]:
        return [("if", ("i32.eqz", self._condition(depth)), ("then", ("return", *self._given(depth))))]

    def _given(self, depth: int) -> list[Sexp]:
        return [self.expression(one, depth) for one in self._results]

    def _set_local(self, depth: int) -> list[Sexp]:
        type = self._chance.pick((*VALUES, FUNCREF))
        return [("local.set", self._chance.pick(self._variables[type]), self.expression(type, depth))]

    def _set_global(self, depth: int) -> list[Sexp]:
        type = self._chance.pick((*INTEGERS, *VALUES))
        return [("global.set", self._global(type), self.expression(type, depth))]

    def _store(self, depth: int) -> list[Sexp]:
        return [self._accessed(self._chance.pick(STORES), depth)]

    def _drop(self, depth: int) -> list[Sexp]:
        return [("nop",), ("drop", self.expression(self._chance.pick(VALUES), depth))]

    def _if_statement(self, depth: int) -> list[Sexp]:
        then = self.statements(1 + self._chance.below(2), depth)
        if self._chance.one_in(2):
            return [("if", self._condition(depth), ("then", *then))]
        return [("if", self._condition(depth), ("then", *then), ("else", *self.statement(depth)))]

    def _loop(self, depth: int) -> list[Sexp]:
        """A counted loop that carries a value of its own round, as its parameter."""
        label, left, type = self._label(), self.local(I32), self._chance.pick(VALUES)
        carried = self._chance.pick([one for one in _operators(type) if one.takes[0] == type])
        rest = (self.expression(one, depth) for one in carried.takes[1:])
        immediates = (self._chance.below(bound) for bound in carried.immediates)
        return [
            ("local.set", left, ("i32.const", 1 + self._chance.below(9))),
            self.expression(type, 0),
            (
                *("loop", label, ("param", type), ("result", type)),
                *self.statements(self._chance.below(3), depth),
                (carried.name, *immediates, *rest),
                ("br_if", label, ("local.tee", left, ("i32.sub", ("local.get", left), ("i32.const", 1)))),
            ),
            ("global.set", self._global(type)),
        ]

    def _switch(self, depth: int) -> list[Sexp]:
        cases = [self._label() for _ in range(2 + self._chance.below(3))]
        end = self._label()
        nest: tuple[Sexp, ...] = (("br_table", *cases, end, self.expression(I32, 1)),)
        for label in cases:
            leave = [("br", end)] if self._chance.one_in(2) else []
            nest = (("block", label, *nest), *self.statement(depth - 1), *leave)
        return [("block", end, *nest)]

    def _several(self, depth: int) -> list[Sexp]:
        """A call or a block that gives more than one value."""
        callees = [one for one in self._scope.callees if len(one.results) > 1]
        if callees and self._chance.one_in(2):
            callee = self._chance.pick(callees)
            return [self.call(callee, depth), *self._kept(callee.results)]
        types = tuple(self._chance.pick(VALUES) for _ in range(2 + self._chance.below(2)))
        label = self._label()
        values = tuple(self.expression(one, depth) for one in types)
        return [("block", label, ("result", *types), *values, ("br_if", label, self._condition(depth))), *self._kept(types)]

    def _kept(self, types: Sequence[Type]) -> list[Sexp]:
        return [("global.set", self._global(one)) for one in reversed(types)]

    def _bulk(self, depth: int) -> list[Sexp]:
        kind, to, size = self._chance.below(3), self._address(0), self._masked(255)
        if kind == 0:
            return [("memory.fill", to, self.expression(I32, 0), size)]
        if kind == 1:
            return [("memory.copy", to, self._address(0), size)]
        if self._chance.one_in(40):
            return [("data.drop", "$passive")]
        return [("memory.init", "$passive", to, self._masked(SEGMENT // 2 - 1), self._masked(SEGMENT // 2 - 1))]

    def _table_statement(self, depth: int) -> list[Sexp]:
        kind, few = self._chance.below(4), self._masked(3)
        if kind == 0:
            return [("table.set", "$loose", self._slot(), self.expression(FUNCREF, depth))]
        if kind == 1:
            return [("table.fill", "$loose", self._masked(3), self.expression(FUNCREF, 0), few)]
        if kind == 2:
            return [("table.copy", "$loose", self._chance.pick(("$fixed", "$loose")), self._masked(3), self._masked(3), few)]
        if self._chance.one_in(40):
            return [("elem.drop", "$spare")]
        return [("table.init", "$loose", "$spare", self._masked(3), self._masked(1), self._masked(1))]

    # operands

    def _accessed(self, access: Access, depth: int) -> Sexp:
        offset: tuple[Sexp, ...] = (f"offset={self._chance.pick((1, 8, 12, 255))}",) if self._chance.one_in(2) else ()
        aligned = (f"align={1 << self._chance.below(access.size.bit_length())}",)
        lane = (self._chance.below(access.lanes),) if access.lanes else ()
        return (access.name, *offset, *aligned, *lane, self._address(depth), *(self.expression(one, depth) for one in access.operands))

    def _address(self, depth: int) -> Sexp:
        return self._masked(ARENA - 1, depth)

    def _slot(self) -> Sexp:
        return self._masked(SLOTS - 1)

    def _masked(self, mask: int, depth: int = 0) -> Sexp:
        free = self.expression(I32, depth)
        return free if self._chance.one_in(WILD) else ("i32.and", free, ("i32.const", mask))

    def _condition(self, depth: int) -> Sexp:
        return self.expression(I32, min(depth, 1))

    def _global(self, type: Type) -> str:
        return f"${type}_{self._chance.below(GLOBALS)}"

    def _label(self) -> str:
        self._labels += 1
        return f"$l{self._labels}"


def constant(chance: Chance, type: Type) -> Sexp:
    if type == V128:
        return ("v128.const", "i64x2", *(_integer(chance, 64) for _ in range(2)))
    if type in FLOATS:
        return (f"{type}.const", _float(chance, type))
    return (f"{type}.const", _integer(chance, BITS[type]))


def _integer(chance: Chance, bits: int) -> int:
    """Signed; as often as not at an edge of some width."""
    value = chance.bits()
    if chance.one_in(2):
        edge = chance.pick((*_EDGES, 1 << bits - 1, 1 << bits // 2))
        value = chance.pick((edge, -edge, edge - 1))
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


_SPECIALS = ("nan", "-nan", "inf", "-inf", "0", "-0", "1", "-1", "0.5", "2", "-3.75", "1e-3", "1e9", "2147483648", "-9223372036854775808")
_PAYLOADS: dict[Type, tuple[str, ...]] = {
    F32: ("nan:0x200000", "-nan:0x1", "0x1p-149", "0x1.fffffep+127", "0x1p-126"),
    F64: ("nan:0x4000000000000", "-nan:0x1", "0x1p-1074", "0x1.fffffffffffffp+1023", "0x1p-1022"),
}


def _float(chance: Chance, type: Type) -> str:
    if chance.one_in(2):
        return chance.pick((*_SPECIALS, *_PAYLOADS[type]))
    raw = chance.bits()
    value: float = struct.unpack("<f", struct.pack("<I", raw >> 32))[0] if type == F32 else struct.unpack("<d", struct.pack("<Q", raw))[0]
    return value.hex() if math.isfinite(value) else "nan"


def _operators(type: Type) -> list[Operator]:
    return VECTOR[type] if type == V128 else SCALAR[type]


_Form: TypeAlias = Callable[[Body, Type, int], Sexp]
_ANY: list[_Form] = [
    *[Body._operator] * 8, Body._load, Body._load, Body._tee, Body._select, Body._if, Body._block, Body._call, Body._call_indirect,
]  # fmt: skip
_FORMS: dict[Type, list[_Form]] = {
    I32: [*_ANY, Body._trapping, Body._trapping, Body._memory_size, Body._table],
    I64: [*_ANY, Body._trapping, Body._trapping],
    F32: _ANY,
    F64: _ANY,
    V128: _ANY,
    FUNCREF: [Body._tee, Body._select, Body._if, Body._block, Body._table_get],
}
"""What an expression of a type can be; how often one stands there is how often it is picked."""

_STATEMENTS: list[Callable[[Body, int], list[Sexp]]] = [
    *[Body._set_global] * 4, *[Body._store] * 3, *[Body._set_local] * 2, Body._drop, Body._if_statement, Body._loop, Body._loop,
    Body._switch, Body._return, Body._several, Body._bulk, Body._table_statement,
]  # fmt: skip
