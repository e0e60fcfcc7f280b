"""Reading, writing and what belongs to an open file: offsets, sizes, times, flags, rights, descriptors."""

from __future__ import annotations

import struct

import pytest

from .wasi_guest import CLOCK, Errno, file, folder, preopen, settings
from .wasi_program import ANSWER, APPEND, CREAT, DATA, DIRECTORY, FOLDER, REGULAR, REGULAR_RIGHTS, ROOT, VECTOR, Program, Right, fails

SET, CUR, END = 0, 1, 2


@pytest.fixture(name="program")
def _program() -> Program:
    return Program(settings(), preopen(), folder(b"d"), file(b"staged", b"0123456789"))


def vectors(program: Program, *pieces: tuple[int, int]) -> int:
    program.write(VECTOR, b"".join(struct.pack("<II", at, length) for at, length in pieces))
    return len(pieces)


# ---- Reading and writing


def test_what_is_written_is_read(program: Program) -> None:
    fd = program.create(b"f")
    assert [program.put(fd, piece) for piece in (b"one ", b"", b"two")] == [4, 0, 3]
    assert program.get(fd) == b""
    assert program.seek(fd, 0, SET) == 0
    assert [program.get(fd, 5), program.get(fd, 5), program.get(fd, 5)] == [b"one t", b"wo", b""]


def test_vectors_are_filled_and_gathered_in_order(program: Program) -> None:
    fd = program.create(b"f")
    program.write(DATA, b"abcdefgh")
    program.ask("fd_write", fd, VECTOR, vectors(program, (DATA + 6, 2), (DATA, 0), (DATA, 3), (DATA + 1, 1)), ANSWER)
    assert program.numbers(ANSWER, "I") == (6,)
    assert program.content(b"f") == b"ghabcb"
    program.ask("fd_pread", fd, VECTOR, vectors(program, (DATA, 1), (DATA + 4, 0), (DATA + 8, 9)), 1, ANSWER)
    assert program.numbers(ANSWER, "I") == (5,)
    assert program.read(DATA, 1) + program.read(DATA + 8, 4) == b"habcb"


def test_vectors_may_overlap(program: Program) -> None:
    fd = program.create(b"f", b"123456")
    program.ask("fd_pread", fd, VECTOR, vectors(program, (DATA, 4), (DATA + 2, 4)), 0, ANSWER)
    assert program.read(DATA, 4) == b"1256"
    program.ask("fd_pwrite", fd, VECTOR, vectors(program, (DATA, 4), (DATA + 1, 3), (DATA, 4)), 0, ANSWER)
    assert program.content(b"f") == b"12562561256"


def test_data_read_over_the_vectors_themselves_does_not_change_them(program: Program) -> None:
    fd = program.create(b"f", b"\xff" * 64)
    program.write(DATA, bytes(64))
    program.ask("fd_pread", fd, VECTOR, vectors(program, (VECTOR, 16), (DATA, 3)), 0, ANSWER)
    assert program.numbers(ANSWER, "I") == (19,)
    assert program.read(DATA, 4) == b"\xff\xff\xff\0"


def test_more_vectors_than_one_call_takes_are_a_short_write(program: Program) -> None:
    fd = program.create(b"f")
    program.write(DATA, struct.pack("<II", 0, 1) * 2000)
    program.ask("fd_write", fd, DATA, 2000, ANSWER)
    assert program.numbers(ANSWER, "I") == (1024,)
    assert program.fstat(fd).size == 1024


def test_positioned_calls_leave_the_offset_alone(program: Program) -> None:
    fd = program.create(b"f", b"0123456789")
    assert program.put(fd, b"ab", offset=2) == 2
    assert program.get(fd, 4, offset=1) == b"1ab4"
    assert program.get(fd, 4, offset=99) == b""
    assert program.tell(fd) == 10
    for offset in (-1, -(2**63)):
        with fails(Errno.INVAL):
            program.get(fd, 4, offset=offset)
        with fails(Errno.INVAL):
            program.put(fd, b"x", offset=offset)


def test_a_gap_reads_as_zeros_also_where_memory_was_used_before(program: Program) -> None:
    fd = program.create(b"used", b"\xff" * 9000)
    program.close(fd)
    program.unlink(b"used")
    fd = program.create(b"f", b"ab")
    program.seek(fd, 5000, SET)
    assert program.put(fd, b"c") == 1
    assert program.content(b"f") == b"ab" + bytes(4998) + b"c"
    program.ask("fd_filestat_set_size", fd, 1)
    program.ask("fd_filestat_set_size", fd, 8000)
    assert program.content(b"f") == b"a" + bytes(7999)


def test_appending_writes_at_the_end_wherever_the_offset_is(program: Program) -> None:
    fd = program.open(b"staged", 0, REGULAR_RIGHTS, flags=APPEND)
    assert program.descriptor(fd).flags == APPEND
    assert program.get(fd, 2) == b"01"
    program.put(fd, b"ab")
    assert program.tell(fd) == 12
    program.seek(fd, 0, SET)
    program.put(fd, b"cd")
    program.put(fd, b"X", offset=0)
    assert program.content(b"staged") == b"X123456789abcd"
    program.ask("fd_fdstat_set_flags", fd, 0)
    program.seek(fd, 1, SET)
    program.put(fd, b"Y")
    assert program.content(b"staged") == b"XY23456789abcd"


def test_two_descriptors_of_one_file_share_it_but_not_the_offset(program: Program) -> None:
    reader, writer = program.open(b"staged"), program.open(b"staged", 0, Right.WRITE)
    program.put(writer, b"ab")
    assert program.get(reader, 4) == b"ab23"


# ---- The offset


def test_seeking(program: Program) -> None:
    fd = program.create(b"f", b"0123456789")
    assert program.seek(fd, -5, CUR) == 5
    assert program.seek(fd, 0, SET) == 0
    assert program.seek(fd, -1, END) == 9
    assert program.seek(fd, 1000, CUR) == program.tell(fd) == 1009
    assert program.get(fd) == b""


@pytest.mark.parametrize(
    ("by", "whence", "errno"),
    [
        (-11, CUR, Errno.INVAL),
        (-1, SET, Errno.INVAL),
        (-11, END, Errno.INVAL),
        (2**63 - 1, CUR, Errno.OVERFLOW),
        (2**63 - 1, END, Errno.OVERFLOW),
        (-(2**63), END, Errno.INVAL),
        (0, 3, Errno.INVAL),
    ],
)
def test_a_seek_that_leads_nowhere_leaves_the_offset_alone(program: Program, by: int, whence: int, errno: Errno) -> None:
    fd = program.create(b"f", b"0123456789")
    with fails(errno):
        program.seek(fd, by, whence)
    assert program.tell(fd) == 10


def test_the_largest_offset_is_reached_and_nothing_is_there(program: Program) -> None:
    fd = program.create(b"f")
    assert program.seek(fd, 2**63 - 1, SET) == 2**63 - 1
    assert program.get(fd) == b""
    with fails(Errno.FBIG):
        program.put(fd, b"x")
    assert program.put(fd, b"") == 0


# ---- Size, times


def test_truncating_and_extending(program: Program) -> None:
    fd = program.open(b"staged", 0, REGULAR_RIGHTS)
    for size in (4, 0, 3, 20):
        program.ask("fd_filestat_set_size", fd, size)
        assert program.fstat(fd).size == size
    assert program.content(b"staged") == bytes(20)


def test_allocating_only_ever_extends(program: Program) -> None:
    fd = program.open(b"staged", 0, REGULAR_RIGHTS)
    sizes = []
    for offset, length in ((0, 100), (10, 10), (90, 20)):
        program.ask("fd_allocate", fd, offset, length)
        sizes.append(program.fstat(fd).size)
    assert sizes == [100, 100, 110]
    assert program.content(b"staged") == b"0123456789" + bytes(100)
    for offset, length in ((0, 0), (-1, 1), (1, -1)):
        with fails(Errno.INVAL):
            program.ask("fd_allocate", fd, offset, length)
    with fails(Errno.FBIG):
        program.ask("fd_allocate", fd, 2**63 - 1, 2**63 - 1)


@pytest.mark.parametrize("size", [1 << 30, 2**32 - 1, 2**32, 2**63 - 1])
def test_a_huge_file_is_refused_and_the_file_left_as_it_was(program: Program, size: int) -> None:
    fd = program.open(b"staged", 0, REGULAR_RIGHTS)
    for call, arguments in (("fd_filestat_set_size", (size,)), ("fd_allocate", (0, size)), ("fd_allocate", (size - 1, 1))):
        assert program.call(call, fd, *arguments) in (Errno.NOSPC, Errno.FBIG)
    program.seek(fd, size - 1, SET)
    with fails(Errno.NOSPC, Errno.FBIG):
        program.put(fd, b"x")
    assert program.content(b"staged") == b"0123456789"


def test_a_size_below_0_is_refused(program: Program) -> None:
    with fails(Errno.INVAL):
        program.ask("fd_filestat_set_size", program.create(b"f"), -1)


def test_times_are_of_the_virtual_clock_and_reading_does_not_count(program: Program) -> None:
    assert program.stat(b"staged")[-3:] == (CLOCK, CLOCK, CLOCK)
    program.time()
    fd = program.open(b"staged", 0, REGULAR_RIGHTS)
    program.get(fd)
    assert program.fstat(fd)[-3:] == (CLOCK, CLOCK, CLOCK)
    program.put(fd, b"x")
    assert program.fstat(fd)[-3:] == (CLOCK, CLOCK + 1000, CLOCK + 1000)
    assert program.stat(b"d").modified == CLOCK
    program.create(b"d/new")
    assert program.stat(b"d").modified == program.stat(b"d/new").accessed == CLOCK + 1000


def test_times_can_be_set(program: Program) -> None:
    program.time()
    fd = program.open(b"staged", 0, REGULAR_RIGHTS)
    program.ask("fd_filestat_set_times", fd, 7, 8, 4)
    assert program.fstat(fd)[-3:] == (CLOCK, 8, CLOCK + 1000)
    program.ask("fd_filestat_set_times", fd, 7, 9, 1)
    assert program.fstat(fd)[-3:] == (7, 8, CLOCK + 1000)
    program.ask("fd_filestat_set_times", fd, 0, 0, 2 | 8)
    assert program.fstat(fd)[-3:] == (CLOCK + 1000,) * 3


@pytest.mark.parametrize("flags", [1 | 2, 4 | 8, 15, 16, -1])
def test_contrary_or_unknown_time_flags_change_nothing(program: Program, flags: int) -> None:
    fd = program.open(b"staged", 0, REGULAR_RIGHTS)
    program.write(1024, b"staged")
    assert program.call("fd_filestat_set_times", fd, 1, 1, flags) == Errno.INVAL
    assert program.call("path_filestat_set_times", ROOT, 0, 1024, 6, 1, 1, flags) == Errno.INVAL
    assert program.fstat(fd)[-3:] == (CLOCK, CLOCK, CLOCK)


def test_inode_numbers_are_of_their_order(program: Program) -> None:
    first = program.stat(b"staged")
    created = [program.fstat(program.create(name)) for name in (b"b", b"a")]
    assert [one.inode - first.inode for one in created] == [1, 2]
    assert {one.device for one in (first, *created)} == {1}


# ---- Directories are no files


def test_a_directory_cannot_be_used_as_a_file(program: Program) -> None:
    fd = program.folder(b"d")
    program.write(DATA, bytes(8))
    for call, arguments in (
        ("fd_read", (DATA, 1, ANSWER)),
        ("fd_pread", (DATA, 1, 0, ANSWER)),
        ("fd_write", (DATA, 1, ANSWER)),
        ("fd_pwrite", (DATA, 1, 0, ANSWER)),
        ("fd_seek", (0, CUR, ANSWER)),
        ("fd_tell", (ANSWER,)),
        ("fd_allocate", (0, 1)),
        ("fd_filestat_set_size", (0,)),
        ("fd_advise", (0, 0, 0)),
    ):
        assert program.call(call, fd, *arguments) == Errno.ISDIR, call


# ---- Flags and rights


def test_advice_is_taken_and_ignored(program: Program) -> None:
    fd = program.create(b"f", b"abc")
    for advice in range(6):
        program.ask("fd_advise", fd, 0, 10, advice)
    for arguments in ((0, 0, 6), (-1, 0, 0), (0, -1, 0)):
        with fails(Errno.INVAL):
            program.ask("fd_advise", fd, *arguments)
    assert program.fstat(fd).size == 3


def test_unknown_descriptor_flags_are_refused(program: Program) -> None:
    fd = program.create(b"f")
    program.ask("fd_fdstat_set_flags", fd, 31)
    with fails(Errno.INVAL):
        program.ask("fd_fdstat_set_flags", fd, 32)
    assert program.descriptor(fd).flags == 31


def test_a_descriptor_has_the_rights_that_it_was_opened_with(program: Program) -> None:
    reader = program.open(b"staged", 0, Right.READ)
    writer = program.open(b"staged", 0, Right.WRITE)
    assert (program.descriptor(reader).base, program.descriptor(writer).base) == (Right.READ, Right.WRITE)
    for wrong in (lambda: program.put(reader, b"x"), lambda: program.get(writer)):
        with fails(Errno.BADF):
            wrong()
    for call, arguments in (
        ("fd_seek", (1, SET, ANSWER)),
        ("fd_seek", (0, CUR, ANSWER)),
        ("fd_tell", (ANSWER,)),
        ("fd_sync", ()),
        ("fd_datasync", ()),
        ("fd_advise", (0, 0, 0)),
        ("fd_allocate", (0, 1)),
        ("fd_filestat_get", (ANSWER,)),
        ("fd_filestat_set_size", (0,)),
        ("fd_filestat_set_times", (0, 0, 0)),
        ("fd_fdstat_set_flags", (0,)),
        ("fd_pread", (DATA, 0, 0, ANSWER)),
    ):
        assert program.call(call, reader, *arguments) == Errno.NOTCAPABLE, call


def test_the_right_to_tell_is_enough_to_stay(program: Program) -> None:
    fd = program.open(b"staged", 0, Right.READ | Right.TELL)
    program.get(fd, 3)
    assert program.seek(fd, 0, CUR) == program.tell(fd) == 3
    with fails(Errno.NOTCAPABLE):
        program.seek(fd, 1, CUR)


def test_rights_can_be_dropped_and_not_taken_back(program: Program) -> None:
    fd = program.create(b"f", b"abc")
    program.ask("fd_fdstat_set_rights", fd, Right.SEEK, 0)
    assert program.descriptor(fd).base == Right.SEEK
    with fails(Errno.NOTCAPABLE):
        program.ask("fd_fdstat_set_rights", fd, Right.SEEK | Right.READ, 0)
    with fails(Errno.NOTCAPABLE):
        program.ask("fd_fdstat_set_rights", fd, Right.SEEK, 1)
    with fails(Errno.BADF):
        program.get(fd)


def test_what_a_directory_does_not_pass_on_cannot_be_had_below_it(program: Program) -> None:
    rights = program.descriptor(ROOT)
    reading = program.open(b".", DIRECTORY, rights.base)
    program.ask("fd_fdstat_set_rights", reading, rights.base, Right.READ | Right.SEEK)
    with fails(Errno.NOTCAPABLE):
        program.open(b"staged", 0, Right.READ | Right.WRITE, at=reading)
    below = program.open(b"d", DIRECTORY, 0, inheriting=Right.WRITE, at=reading)
    assert program.descriptor(below).inheriting == Right.READ | Right.SEEK
    assert program.get(program.open(b"staged", 0, Right.READ, at=reading), 3) == b"012"
    lookup = program.open(b".", DIRECTORY, Right.PATH_OPEN, inheriting=REGULAR_RIGHTS)
    for oflags in (CREAT, 8):
        with fails(Errno.NOTCAPABLE):
            program.open(b"staged", oflags, 0, at=lookup)
    with fails(Errno.NOTCAPABLE):
        program.mkdir(b"x", at=lookup)


def test_rights_that_mean_nothing_for_a_type_are_not_given(program: Program) -> None:
    everything = 2**64 - 1
    regular = program.descriptor(program.open(b"staged", 0, everything, inheriting=everything))
    assert (regular.type, regular.base) == (REGULAR, REGULAR_RIGHTS)
    directory = program.descriptor(program.open(b"d", 0, everything & ~Right.WRITE))
    assert directory.type == FOLDER
    assert not directory.base & (Right.SEEK | Right.READ | Right.SET_SIZE)
    assert directory.base == program.descriptor(ROOT).base


# ---- Descriptors


def test_the_lowest_free_descriptor_is_taken(program: Program) -> None:
    fds = [program.create(b"%d" % number) for number in range(4)]
    assert fds == [4, 5, 6, 7]
    program.close(5)
    program.close(1)
    assert [program.open(b"staged") for _ in range(3)] == [1, 5, 8]


def test_a_closed_descriptor_is_bad_for_everything(program: Program) -> None:
    program.close(ROOT)
    for call in ("fd_close", "fd_sync", "fd_datasync"):
        for fd in (ROOT, 99, 1024, -1):
            assert program.call(call, fd) == Errno.BADF
    assert program.call("fd_prestat_get", ROOT, ANSWER) == program.call("path_unlink_file", ROOT, 0, 1) == Errno.BADF


def test_renumbering_moves_a_descriptor_onto_an_open_one(program: Program) -> None:
    first, second = program.create(b"a", b"aaa"), program.create(b"b")
    before = program.descriptor(first)
    program.ask("fd_renumber", first, second)
    assert program.descriptor(second) == before
    assert program.tell(second) == 3
    with fails(Errno.BADF):
        program.close(first)
    with fails(Errno.BADF):
        program.ask("fd_renumber", second, first)
    program.ask("fd_renumber", second, second)
    assert program.fstat(second).size == 3


def test_a_preopen_can_be_replaced_and_is_then_none(program: Program) -> None:
    program.ask("fd_renumber", program.folder(b"d"), ROOT)
    with fails(Errno.BADF):
        program.preopen(ROOT)
    assert program.fstat(ROOT).type == FOLDER
    program.create(b"inside")
    assert b"inside" in program.names(ROOT)


def test_the_name_of_a_preopen_needs_room(program: Program) -> None:
    assert program.call("fd_prestat_dir_name", ROOT, DATA, 0) == Errno.NAMETOOLONG
    program.write(DATA, b"xx")
    program.ask("fd_prestat_dir_name", ROOT, DATA, 2)
    assert program.read(DATA, 2) == b"/x"


def test_descriptors_run_out_and_come_back(program: Program) -> None:
    for expected in range(4, 1024):
        assert program.open(b"staged") == expected
    with fails(Errno.MFILE):
        program.open(b"staged")
    with fails(Errno.MFILE):
        program.open(b"new", CREAT)
    with fails(Errno.NOENT):
        program.stat(b"new")
    program.close(700)
    assert program.open(b"staged") == 700
