"""Every call of WASI with any numbers, in any order: an errno comes back, no trap; what the host reads afterwards is whole."""

from __future__ import annotations

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from ..unit.sandbox.wasi_guest import PAGE, SIGNATURES, file, folder, preopen, stdin, symlink
from ..unit.sandbox.wasi_guest import settings as staged
from ..unit.sandbox.wasi_program import Program

END = 2 * PAGE  # of the guest's memory
ERRNOS = 77
SEQUENCES = 600

# Descriptors, flags and small lengths; places at both ends of the memory; what overflows 32 and 64 bits.
TELLING = [*range(9), 16, 64, 255, 4096, PAGE, END - 8, END - 1, END, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
NUMBERS = st.sampled_from(TELLING) | st.integers(0, END) | st.integers(0, 2**64 - 1)

# What lies where pointers point: names, vectors whose places and lengths are hostile, subscriptions.
VECTORS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=6).map(
    lambda pairs: b"".join(struct.pack("<II", at % 2**32, length % 2**32) for at, length in pairs)
)
NAMES = st.sampled_from(
    [b"file", b"dir", b"link", b"dir/new", b"../x", b"/", b".", b"", b"dir/", b"a" * 256, b"dir/../../x", b"\0", b"\xff"]
)
CONTENTS = NAMES | VECTORS | st.binary(max_size=96)

CALLS = st.sampled_from(sorted(SIGNATURES.keys() - {"proc_exit"})).flatmap(
    lambda name: st.tuples(st.just(name), st.tuples(*(NUMBERS for _ in SIGNATURES[name][0])), st.integers(0, END - 300), CONTENTS)
)


@settings(max_examples=SEQUENCES, deadline=None)
@given(st.lists(CALLS, min_size=1, max_size=40))
def test_any_calls_are_answered(calls: list[tuple[str, tuple[int, ...], int, bytes]]) -> None:
    tree = (file(b"file", b"0123456789"), folder(b"dir"), symlink(b"link", b"file"), symlink(b"loop", b"loop"))
    program = Program(staged(stdout=64, stderr=64), preopen(), *tree, stdin(b"input"))
    for name, numbers, at, content in calls:
        program.write(at, content)
        kinds = SIGNATURES[name][0]
        given_numbers = [number % (2**64 if kind == "i64" else 2**32) for number, kind in zip(numbers, kinds, strict=True)]
        assert 0 <= program.call(name, *given_numbers) < ERRNOS
    program.finish()
    result = program.result()
    assert len(result.stdout) <= 64 and len(result.stderr) <= 64 and not result.exited
