"""What a generated program ends with, when it does not answer: statements for a trap of each class, for endless work and deep recursion."""

from __future__ import annotations

from collections.abc import Callable

from .body import Chance, Sexp
from .instructions import BITS, F32, F64, FLOATS, I32, INTEGERS, TRAPPING, Type
from .layout import EMPTY, PAGE_BYTES, PAGES, ROOM, SLOTS, TAKEN

ZERO = "$zero"  # a global of type i32 that nobody sets, which no compiler can know
NOBODY = "$nobody"  # a type that no function has

_NEAR: Sexp = ("i32.const", 0)
_ONE: Sexp = ("i32.const", 1)
_ARGUMENTS: tuple[Sexp, ...] = tuple((f"{one}.const", 0) for one in (*FLOATS, *FLOATS))  # of NOBODY


def wide(value: Sexp) -> Sexp:
    return ("i64.extend_i32_u", value)


def _integer(chance: Chance, type: Type, value: int) -> Sexp:
    """A constant; in half the cases hidden from the compiler, which turns known operands into a plain trap."""
    plain = (f"{type}.const", value)
    zero: Sexp = ("global.get", ZERO)
    return plain if chance.one_in(2) else (f"{type}.add", plain, zero if type == I32 else wide(zero))


def _float(chance: Chance, type: Type, value: str) -> Sexp:
    plain = (f"{type}.const", value)
    return plain if chance.one_in(2) else (f"{type}.add", plain, (f"{type}.convert_i32_s", ("global.get", ZERO)))


def _beyond_memory(chance: Chance) -> Sexp:
    far = _integer(chance, I32, chance.pick((-1, PAGES * PAGE_BYTES - 3)))
    size = _integer(chance, I32, 64)
    endings: tuple[Sexp, ...] = (
        ("drop", ("i64.load", far)),
        ("drop", ("v128.load", "offset=4294967295", _NEAR)),
        ("i64.store", far, ("i64.const", 1)),
        ("memory.fill", far, _NEAR, size),
        ("memory.copy", far, _NEAR, size),
        ("memory.copy", _NEAR, far, size),
        ("memory.init", "$passive", _NEAR, _ONE, size),
    )
    return chance.pick(endings)


def _beyond_table(chance: Chance) -> Sexp:
    far = _integer(chance, I32, chance.pick((SLOTS + ROOM, -1)))
    null = ("ref.null", "func")
    endings: tuple[Sexp, ...] = (
        ("drop", ("table.get", "$loose", far)),
        ("table.set", "$loose", far, null),
        ("table.fill", "$loose", far, null, _ONE),
        ("table.copy", "$loose", "$fixed", _NEAR, far, _ONE),
        ("table.init", "$loose", "$spare", _NEAR, far, _ONE),
        ("call_indirect", "$fixed", ("type", NOBODY), *_ARGUMENTS, far),
    )
    return chance.pick(endings)


def _called(slot: int) -> Callable[[Chance], Sexp]:
    return lambda chance: ("call_indirect", "$fixed", ("type", NOBODY), *_ARGUMENTS, _integer(chance, I32, slot))


def _division(chance: Chance) -> Sexp:
    type, name = chance.pick(INTEGERS), chance.pick(("div_s", "div_u", "rem_s", "rem_u"))
    return ("drop", (f"{type}.{name}", _integer(chance, type, 7), _integer(chance, type, 0)))


def _overflow(chance: Chance) -> Sexp:
    if chance.one_in(2):
        return _truncation(chance, {F32: chance.pick(("inf", "-1e30")), F64: chance.pick(("-inf", "1e300"))})
    type = chance.pick(INTEGERS)
    return ("drop", (f"{type}.div_s", _integer(chance, type, -1 << BITS[type] - 1), _integer(chance, type, -1)))


def _conversion(chance: Chance) -> Sexp:
    return _truncation(chance, dict.fromkeys(FLOATS, chance.pick(("nan", "-nan"))))


def _truncation(chance: Chance, values: dict[Type, str]) -> Sexp:
    operator = chance.pick([one for type in INTEGERS for one in TRAPPING[type] if one.takes[0] in FLOATS])
    (of,) = operator.takes
    return ("drop", (operator.name, _float(chance, of, values[of])))


def _endless(chance: Chance) -> Sexp:
    work: tuple[Sexp, ...] = (
        ("global.set", "$i64_0", ("i64.add", ("global.get", "$i64_0"), ("i64.const", 1))),
        ("drop", ("call", "$spin", ("i32.const", 1023), ("i64.const", 1))),
        ("memory.fill", _NEAR, _ONE, ("i32.const", 100)),
    )
    again: tuple[Sexp, ...] = (("br", "$ever"), ("br_if", "$ever", ("i32.eqz", ("global.get", ZERO))))
    return ("loop", "$ever", chance.pick(work), chance.pick(again))


def _deep(chance: Chance) -> Sexp:
    """Some of these return; from a depth on that differs between CPUs they end as ``stack``."""
    depth = ("i32.const", chance.pick((100, 2_000, 10_000, 40_000, -1)))
    return ("global.set", "$i64_0", ("call", "$deep", depth, ("i64.const", 1)))


ENDINGS: dict[str, Callable[[Chance], Sexp]] = {
    "unreachable": lambda _: ("unreachable",),
    "memory-out-of-bounds": _beyond_memory,
    "table-out-of-bounds": _beyond_table,
    "indirect-call-to-null": _called(EMPTY),
    "bad-signature": _called(TAKEN),
    "integer-division-by-zero": _division,
    "integer-overflow": _overflow,
    "bad-conversion-to-integer": _conversion,
    "endless": _endless,
    "deep": _deep,
}
