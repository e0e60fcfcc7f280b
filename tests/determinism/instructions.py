"""The instructions that generated programs use, with their types: those of WebAssembly 2.0 (core specification §4.3, §4.4) as data.

What traps on some operands stands apart, so that programs can be made to trap seldom enough to get anywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

Type: TypeAlias = Literal["i32", "i64", "f32", "f64", "v128", "funcref"]

I32: Type = "i32"
I64: Type = "i64"
F32: Type = "f32"
F64: Type = "f64"
V128: Type = "v128"
FUNCREF: Type = "funcref"

INTEGERS: tuple[Type, ...] = (I32, I64)
FLOATS: tuple[Type, ...] = (F32, F64)
VALUES: tuple[Type, ...] = (*INTEGERS, *FLOATS, V128)
"""The types of what can be stored, and so shown."""

BITS: dict[Type, int] = {I32: 32, I64: 64, F32: 32, F64: 64, V128: 128}


class Operator(NamedTuple):
    """``immediates`` has the exclusive bound of each number that stands in the instruction itself, such as a lane."""

    name: str
    takes: tuple[Type, ...]
    gives: Type
    immediates: tuple[int, ...] = ()


class Access(NamedTuple):
    """A load or a store of ``size`` bytes. ``operands`` come after the address; ``lanes`` is 0 where no lane is named."""

    name: str
    size: int
    operands: tuple[Type, ...] = ()
    lanes: int = 0


def _scalar() -> Iterator[Operator]:
    for one in INTEGERS:
        yield from _named(one, "clz ctz popcnt extend8_s extend16_s", (one,), one)
        yield from _named(one, "add sub mul and or xor shl shr_s shr_u rotl rotr", (one, one), one)
        yield from _named(one, "eqz", (one,), I32)
        yield from _named(one, "eq ne lt_s lt_u gt_s gt_u le_s le_u ge_s ge_u", (one, one), I32)
        for other in FLOATS:
            yield from _named(one, f"trunc_sat_{other}_s trunc_sat_{other}_u", (other,), one)
            yield from _named(other, f"convert_{one}_s convert_{one}_u", (one,), other)
    for one in FLOATS:
        yield from _named(one, "abs neg ceil floor trunc nearest sqrt", (one,), one)
        yield from _named(one, "add sub mul div min max copysign", (one, one), one)
        yield from _named(one, "eq ne lt gt le ge", (one, one), I32)
    yield from _named(I64, "extend32_s", (I64,), I64)
    yield from _named(I64, "extend_i32_s extend_i32_u", (I32,), I64)
    yield from _named(I32, "wrap_i64", (I64,), I32)
    yield from _named(F32, "demote_f64", (F64,), F32)
    yield from _named(F64, "promote_f32", (F32,), F64)
    for one, other in ((I32, F32), (I64, F64)):
        yield from _named(one, f"reinterpret_{other}", (other,), one)
        yield from _named(other, f"reinterpret_{one}", (one,), other)


def _vector() -> Iterator[Operator]:
    two = (V128, V128)
    yield from _named("v128", "not", (V128,), V128)
    yield from _named("v128", "and andnot or xor", two, V128)
    yield from _named("v128", "bitselect", (V128, V128, V128), V128)
    yield from _named("v128", "any_true", (V128,), I32)
    for shape in ("i8x16", "i16x8", "i32x4", "i64x2"):
        yield from _named(shape, "abs neg", (V128,), V128)
        yield from _named(shape, "all_true bitmask", (V128,), I32)
        yield from _named(shape, "shl shr_s shr_u", (V128, I32), V128)
        yield from _named(shape, "add sub eq ne lt_s gt_s le_s ge_s", two, V128)
    for shape in ("i8x16", "i16x8", "i32x4"):
        yield from _named(shape, "lt_u gt_u le_u ge_u min_s min_u max_s max_u", two, V128)
    for shape in ("i8x16", "i16x8"):
        yield from _named(shape, "add_sat_s add_sat_u sub_sat_s sub_sat_u avgr_u", two, V128)
    for shape in ("i16x8", "i32x4", "i64x2"):
        yield from _named(shape, "mul", two, V128)
    for narrow, wide in (("i8x16", "i16x8"), ("i16x8", "i32x4"), ("i32x4", "i64x2")):
        halves = [f"{half}_{narrow}_{sign}" for half in ("low", "high") for sign in "su"]
        yield from _named(wide, " ".join(f"extend_{half}" for half in halves), (V128,), V128)
        yield from _named(wide, " ".join(f"extmul_{half}" for half in halves), two, V128)
        if wide != "i64x2":
            yield from _named(wide, f"extadd_pairwise_{narrow}_s extadd_pairwise_{narrow}_u", (V128,), V128)
            yield from _named(narrow, f"narrow_{wide}_s narrow_{wide}_u", two, V128)
    yield from _named("i8x16", "popcnt", (V128,), V128)
    yield from _named("i8x16", "swizzle", two, V128)
    yield Operator("i8x16.shuffle", two, V128, (32,) * 16)
    yield from _named("i16x8", "q15mulr_sat_s", two, V128)
    yield from _named("i32x4", "dot_i16x8_s", two, V128)
    yield from _named("i32x4", "trunc_sat_f32x4_s trunc_sat_f32x4_u trunc_sat_f64x2_s_zero trunc_sat_f64x2_u_zero", (V128,), V128)
    for shape in ("f32x4", "f64x2"):
        yield from _named(shape, "abs neg sqrt ceil floor trunc nearest", (V128,), V128)
        yield from _named(shape, "add sub mul div min max pmin pmax eq ne lt gt le ge", two, V128)
    yield from _named("f32x4", "convert_i32x4_s convert_i32x4_u demote_f64x2_zero", (V128,), V128)
    yield from _named("f64x2", "convert_low_i32x4_s convert_low_i32x4_u promote_low_f32x4", (V128,), V128)
    lanes: tuple[tuple[str, int, Type, str], ...] = (
        ("i8x16", 16, I32, "_s _u"),
        ("i16x8", 8, I32, "_s _u"),
        ("i32x4", 4, I32, ""),
        ("i64x2", 2, I64, ""),
        ("f32x4", 4, F32, ""),
        ("f64x2", 2, F64, ""),
    )
    for shape, count, lane, signs in lanes:
        yield Operator(f"{shape}.splat", (lane,), V128)
        yield Operator(f"{shape}.replace_lane", (V128, lane), V128, (count,))
        for sign in signs.split() or [""]:
            yield Operator(f"{shape}.extract_lane{sign}", (V128,), lane, (count,))


def _trapping() -> Iterator[Operator]:
    for one in INTEGERS:
        yield from _named(one, "div_s div_u rem_s rem_u", (one, one), one)
        for other in FLOATS:
            yield from _named(one, f"trunc_{other}_s trunc_{other}_u", (other,), one)


def _named(prefix: str, names: str, takes: tuple[Type, ...], gives: Type) -> Iterator[Operator]:
    for name in names.split():
        yield Operator(f"{prefix}.{name}", takes, gives)


def _by_type(operators: Iterator[Operator]) -> dict[Type, list[Operator]]:
    found: dict[Type, list[Operator]] = {}
    for one in operators:
        found.setdefault(one.gives, []).append(one)
    return found


SCALAR = _by_type(_scalar())
VECTOR = _by_type(_vector())
TRAPPING = _by_type(_trapping())

LOADS: dict[Type, list[Access]] = {
    I32: [Access("i32.load", 4)] + [Access(f"i32.load{8 * size}_{sign}", size) for size in (1, 2) for sign in "su"],
    I64: [Access("i64.load", 8)] + [Access(f"i64.load{8 * size}_{sign}", size) for size in (1, 2, 4) for sign in "su"],
    F32: [Access("f32.load", 4)],
    F64: [Access("f64.load", 8)],
    V128: [
        Access("v128.load", 16),
        *(Access(f"v128.load{shape}_{sign}", 8) for shape in ("8x8", "16x4", "32x2") for sign in "su"),
        *(Access(f"v128.load{8 * size}_splat", size) for size in (1, 2, 4, 8)),
        *(Access(f"v128.load{8 * size}_zero", size) for size in (4, 8)),
        *(Access(f"v128.load{8 * size}_lane", size, (V128,), 16 // size) for size in (1, 2, 4, 8)),
    ],
}

STORES: list[Access] = [
    *(Access(f"{one}.store", BITS[one] // 8, (one,)) for one in VALUES),
    *(Access(f"i32.store{8 * size}", size, (I32,)) for size in (1, 2)),
    *(Access(f"i64.store{8 * size}", size, (I64,)) for size in (1, 2, 4)),
    *(Access(f"v128.store{8 * size}_lane", size, (V128,), 16 // size) for size in (1, 2, 4, 8)),
]

_OTHERS = """
    local.get local.set local.tee global.get global.set select drop nop unreachable ref.null ref.func ref.is_null
    block loop if br br_if br_table return call call_indirect return_call return_call_indirect
    memory.size memory.grow memory.fill memory.copy memory.init data.drop
    table.get table.set table.size table.grow table.fill table.copy table.init elem.drop
"""

NAMES: frozenset[str] = frozenset(
    [one.name for table in (SCALAR, VECTOR, TRAPPING) for operators in table.values() for one in operators]
    + [one.name for accesses in (*LOADS.values(), STORES) for one in accesses]
    + [f"{one}.const" for one in VALUES]
    + _OTHERS.split()
)
"""Every instruction of the language that a step can have: a corpus that lacks one tests less than it says."""
