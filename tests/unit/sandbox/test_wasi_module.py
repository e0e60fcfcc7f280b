"""The binary of the guest's operating system: its interface, what the host stages into it, and what the host reads out of it."""

from __future__ import annotations

import struct

import pytest
import wasmtime

from edgenode.sandbox import engine, image, wasi
from edgenode.sandbox.image import Kind, Record

from .wasi_guest import SIGNATURES, Errno, Guest, argument, file, folder, preopen, settings, stdin, symlink
from .wasi_program import CREAT, Program, fails


def test_it_imports_nothing_and_exports_the_calls_with_their_types() -> None:
    module = wasmtime.Module(engine.create(), wasi.parts()["wasi"])
    assert module.imports == []
    functions = {
        one.name: (tuple(map(str, one.type.params)), tuple(map(str, one.type.results)))
        for one in module.exports
        if isinstance(one.type, wasmtime.FuncType)
    }
    assert len(SIGNATURES) == 46
    assert functions == {**SIGNATURES, "stage": (("i32", "i32"), ("i32",)), "finish": ((), ())}
    others = {one.name for one in module.exports} - functions.keys()
    assert others == {"memory", "__indirect_function_table", "__heap_base", "result"}


def test_it_is_small_and_named() -> None:
    binary = wasi.parts()["wasi"]
    assert len(binary) < 60_000
    assert binary.endswith(b"\x04name\x00\x0e\x0dedgenode:wasi")
    assert b"edgenode:bridge" in wasi.parts()["bridge"]


def test_slots_1_to_3_wait_for_the_bridge() -> None:
    """With nothing behind them a call that needs memory traps, and the table has no other slots that the bridge could hit."""
    guest = Guest(settings(), bridged=False)
    table = guest.system["__indirect_function_table"]
    kinds = [table.get(guest.store, i).type(guest.store) for i in (1, 2, 3)]
    assert table.size(guest.store) == 4
    assert [[str(one) for one in kind.params] for kind in kinds] == [["i32"] * 3, ["i32"] * 3, []]
    assert [str(one) for one in kinds[2].results] == ["i32"]
    assert guest.call("sched_yield") == Errno.SUCCESS
    with pytest.raises(wasmtime.Trap):
        guest.call("fd_fdstat_get", 0, 0)


def encoded(*records: Record) -> bytes:
    return b"".join(image.encode(records))


@pytest.mark.parametrize(
    ("bad", "errno"),
    [
        (b"", Errno.INVAL),
        (encoded(argument(b"a")), Errno.INVAL),  # no settings
        (encoded(Record(Kind.SETTINGS, content=bytes(40))), Errno.INVAL),
        (encoded(settings())[:-8], Errno.INVAL),
        (encoded(settings()) + bytes(8), Errno.INVAL),
        (encoded(settings()) + struct.pack("<IIQ", 1, 0, 2**63), Errno.INVAL),
        (encoded(settings()) + struct.pack("<IIQ", 1, 2**32 - 1, 0), Errno.INVAL),
        (encoded(settings()) + struct.pack("<IIQ", 8, 0, 0), Errno.INVAL),
        (encoded(settings(), file(b"a")), Errno.INVAL),  # below no preopen
        (encoded(settings(), preopen(), file(b"a/b")), Errno.NOENT),
        (encoded(settings(), preopen(), file(b"a"), folder(b"a")), Errno.EXIST),
        (encoded(settings(), preopen(), file(b"../a")), Errno.NOTCAPABLE),
        (encoded(settings(), preopen(), file(b"/a")), Errno.NOTCAPABLE),
        (encoded(settings(), preopen(), file(b"n" * 256)), Errno.NAMETOOLONG),
    ],
)
def test_a_wrong_image_is_refused(bad: bytes, errno: Errno) -> None:
    assert Guest().stage(bad) == errno


def test_an_image_that_does_not_fit_is_refused() -> None:
    guest = Guest()
    guest.stage(b"")
    end = guest.system["memory"].data_len(guest.store)
    assert guest.system["stage"](guest.store, end - 64, 128) == Errno.NOMEM
    records = encoded(settings(), stdin(bytes(end - guest.system["__heap_base"].value(guest.store) - 256)))
    assert Guest().stage(records) == Errno.NOMEM  # it fits, but nothing is left for what a program begins with
    assert Guest(files=len(records) + 4096).stage(records) == Errno.SUCCESS


def test_preopens_take_the_descriptors_from_3_and_are_apart() -> None:
    program = Program(settings(), preopen(b"/"), file(b"a", b"1"), preopen(b"data/x"), file(b"a", b"2"), preopen(b"."))
    assert [program.preopen(fd) for fd in (3, 4, 5)] == [b"/", b"data/x", b"."]
    with fails(Errno.BADF):
        program.preopen(6)
    assert program.content(b"a") == b"1"
    fd = program.open(b"a", at=4)
    assert program.get(fd) == b"2"
    with fails(Errno.NOTCAPABLE):
        program.open(b"../a", at=4)


def test_staged_names_are_found_listed_and_changed_in_place() -> None:
    program = Program(settings(), preopen(), folder(b"d"), folder(b"d/e"), file(b"d/e/f", b"abc"), symlink(b"d/l", b"e/f"), file(b"none"))
    assert program.content(b"d/e/f") == b"abc"
    assert program.readlink(b"d/l") == b"e/f"
    assert program.content(b"none") == b""
    fd = program.open(b"d/e/f", 0, 0xFFFFFFF & ~(1 << 14))
    program.put(fd, b"A")
    program.put(fd, b"BC, and more than there was")
    assert program.content(b"d/e/f") == b"ABC, and more than there was"


def test_files_that_are_left_are_found() -> None:
    program = Program(settings(), preopen(b"."), preopen(), folder(b"state"), file(b"state/in", b"before"), folder(b"out"))
    fd = program.open(b"state/out", CREAT, 0xFF, at=4)
    program.put(fd, b"after")
    fd = program.open(b"out/derived.csv", CREAT, 0xFF, at=4)
    for number in range(3):
        program.put(fd, b"%d\n" % number)
    program.close(4)
    assert program.finish()[6:] == (b"after", b"0\n1\n2\n")
    assert program.finish() == program.result()


def test_only_regular_files_are_left() -> None:
    program = Program(settings(), preopen(), folder(b"state"), folder(b"state/out"), folder(b"out"), symlink(b"out/derived.csv", b"../f"))
    assert program.finish()[6:] == (None, None)
    assert Program(settings()).finish()[6:] == (None, None)
    assert Program(settings(), preopen(b"."), folder(b"state"), file(b"state/out")).finish()[6:] == (None, None)


def test_an_empty_file_is_left_too() -> None:
    program = Program(settings(), preopen(), folder(b"state"), file(b"state/out"))
    assert program.finish().state == b""


def test_exit_is_noted_before_the_trap() -> None:
    program = Program(settings(), preopen(), folder(b"state"), file(b"state/out", b"kept"))
    program.put(1, b"out")
    with pytest.raises(wasmtime.Trap):
        program.call("proc_exit", -1)
    result = program.result()
    assert (result.exited, result.exit_code, result.stdout, result.state) == (1, 2**32 - 1, b"out", b"kept")


def test_two_runs_agree_in_everything_and_in_fuel() -> None:
    def run() -> tuple[object, ...]:
        program = Program(settings(), argument(b"a"), preopen(), folder(b"d"), stdin(b"x" * 1000))
        seen = [program.get(0), program.random(100), program.time(), program.create(b"d/f", b"y" * 5000), program.stat(b"d/f")]
        return (*seen, program.finish(), program.fuel())

    assert run() == run()
