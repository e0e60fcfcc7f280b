"""What a hostile program may try: pointers to nowhere, absurd lengths, using up whatever there is. It is answered with an errno."""

from __future__ import annotations

import random
import struct

import pytest
import wasmtime

from .wasi_guest import CLOCK, PAGE, SIGNATURES, Errno, argument, file, folder, preopen, settings, stdin, symlink
from .wasi_program import ANSWER, CREAT, DATA, PATH, REGULAR_RIGHTS, ROOT, VECTOR, Failed, Program, fails, until

END = 2 * PAGE
TOP = 2**32 - 1
NAME = (PATH, 4)  # where "file" lies
LINK = (PATH + 8, 4)
NEW = (PATH + 16, 3)


@pytest.fixture(name="program")
def _program() -> Program:
    program = Program(settings(), preopen(), file(b"file", b"0123456789"), folder(b"dir"), symlink(b"link", b"file"), stdin(b"input"))
    program.write(PATH, b"file\0\0\0\0link\0\0\0\0new")
    program.write(VECTOR, struct.pack("<II", DATA, 4))
    return program


def calls(fd: int) -> list[tuple[str, tuple[int | None, ...]]]:
    """Every way in which a call takes a pointer: None stands for it."""
    return [
        ("args_sizes_get", (None, ANSWER)),
        ("args_sizes_get", (ANSWER, None)),
        ("environ_sizes_get", (None, ANSWER)),
        ("environ_sizes_get", (ANSWER, None)),
        ("clock_res_get", (0, None)),
        ("clock_time_get", (0, 0, None)),
        ("fd_fdstat_get", (fd, None)),
        ("fd_filestat_get", (fd, None)),
        ("fd_prestat_get", (ROOT, None)),
        ("fd_prestat_dir_name", (ROOT, None, 1)),
        ("fd_read", (fd, None, 1, ANSWER)),
        ("fd_read", (fd, VECTOR, 1, None)),
        ("fd_pread", (fd, None, 1, 0, ANSWER)),
        ("fd_pread", (fd, VECTOR, 1, 0, None)),
        ("fd_write", (fd, None, 1, ANSWER)),
        ("fd_write", (fd, VECTOR, 1, None)),
        ("fd_write", (1, None, 1, ANSWER)),
        ("fd_pwrite", (fd, None, 1, 0, ANSWER)),
        ("fd_pwrite", (fd, VECTOR, 1, 0, None)),
        ("fd_readdir", (ROOT, None, 1, 0, ANSWER)),
        ("fd_readdir", (ROOT, DATA, 1, 0, None)),
        ("fd_seek", (fd, 1, 0, None)),
        ("fd_tell", (fd, None)),
        ("path_create_directory", (ROOT, None, 3)),
        ("path_filestat_get", (ROOT, 0, None, 4, ANSWER)),
        ("path_filestat_get", (ROOT, 0, *NAME, None)),
        ("path_filestat_set_times", (ROOT, 0, None, 4, 1, 1, 5)),
        ("path_link", (ROOT, 0, None, 4, ROOT, *NEW)),
        ("path_link", (ROOT, 0, *NAME, ROOT, None, 3)),
        ("path_open", (ROOT, 0, None, 4, 0, 0, 0, 0, ANSWER)),
        ("path_open", (ROOT, 0, *NEW, CREAT, 0, 0, 0, None)),
        ("path_open", (ROOT, 0, *NAME, 8, 0, 0, 0, None)),
        ("path_readlink", (ROOT, None, 4, DATA, 4, ANSWER)),
        ("path_readlink", (ROOT, *LINK, None, 4, ANSWER)),
        ("path_readlink", (ROOT, *LINK, DATA, 4, None)),
        ("path_remove_directory", (ROOT, None, 3)),
        ("path_rename", (ROOT, None, 4, ROOT, *NEW)),
        ("path_rename", (ROOT, *NAME, ROOT, None, 3)),
        ("path_symlink", (None, 3, ROOT, *NEW)),
        ("path_symlink", (*NAME, ROOT, None, 3)),
        ("path_unlink_file", (ROOT, None, 4)),
        ("poll_oneoff", (None, DATA, 1, ANSWER)),
        ("poll_oneoff", (DATA, None, 1, ANSWER)),
        ("poll_oneoff", (DATA, PAGE, 1, None)),
        ("random_get", (None, 1)),
    ]


def state(program: Program) -> tuple[object, ...]:
    """What a refused call must not have changed; looking is kept from moving the clock and the offset."""
    fd = 4
    return (program.tell(fd), program.stat(b"file"), program.names(ROOT), program.get(fd, offset=0), program.result().stdout)


@pytest.mark.parametrize("case", range(len(calls(0))))
def test_a_pointer_out_of_memory_is_a_fault_and_nothing_else(program: Program, case: int) -> None:
    fd = program.open(b"file", 0, REGULAR_RIGHTS)
    assert fd == 4
    program.write(DATA, until(1, 0))
    before = state(program)
    program.write(PATH, b"file\0\0\0\0link\0\0\0\0new")
    program.write(VECTOR, struct.pack("<II", DATA, 4))
    name, arguments = calls(fd)[case]
    for pointer in (END, END + 1, TOP, 2**31, TOP - 7):
        assert program.call(name, *(pointer if one is None else one for one in arguments)) == Errno.FAULT, hex(pointer)
    assert state(program) == before
    assert program.time() == CLOCK
    assert program.random(4).hex() == "39fd2b7d"


def test_the_last_byte_of_memory_belongs_to_it(program: Program) -> None:
    program.ask("random_get", END - 1, 1)
    assert program.call("random_get", END - 1, 2) == Errno.FAULT
    program.ask("clock_time_get", 0, 0, END - 8)
    assert program.call("clock_time_get", 0, 0, END - 7) == Errno.FAULT
    program.ask("fd_prestat_get", ROOT, END - 8)
    assert program.call("fd_prestat_get", ROOT, END - 7) == Errno.FAULT


def test_nothing_is_nowhere(program: Program) -> None:
    """A length of 0 makes any pointer a good one, as POSIX has it."""
    program.write(VECTOR, struct.pack("<II", TOP, 0))
    fd = program.open(b"file", 0, REGULAR_RIGHTS)
    for call in ("fd_read", "fd_write"):
        program.ask(call, fd, VECTOR, 1, ANSWER)
        program.ask(call, fd, TOP, 0, ANSWER)
        assert program.numbers(ANSWER, "I") == (0,)
    program.ask("random_get", TOP, 0)
    program.ask("fd_readdir", ROOT, TOP, 0, 0, ANSWER)
    program.ask("path_readlink", ROOT, *LINK, TOP, 0, ANSWER)
    with fails(Errno.NOENT):
        program.ask("path_unlink_file", ROOT, TOP, 0)


@pytest.mark.parametrize("call", ["fd_read", "fd_write"])
def test_a_bad_vector_among_good_ones_is_a_fault_before_anything_is_done(program: Program, call: str) -> None:
    fd = program.open(b"file", 0, REGULAR_RIGHTS)
    program.write(DATA, b"xxxx")
    for bad in ((END, 1), (DATA, TOP), (TOP, TOP), (END - 1, 2), (2**31, 2**31)):
        program.write(VECTOR, struct.pack("<IIII", DATA, 4, *bad))
        assert program.call(call, fd, VECTOR, 2, ANSWER) == Errno.FAULT
    assert (program.read(DATA, 4), program.tell(fd), program.get(fd, offset=0)) == (b"xxxx", 0, b"0123456789")


def test_absurd_counts_and_lengths_are_faults(program: Program) -> None:
    fd = program.open(b"file", 0, REGULAR_RIGHTS)
    for count in (TOP, 2**29, 2**29 + 1, 2**31):
        assert program.call("fd_read", fd, VECTOR, count, ANSWER) == Errno.FAULT
        assert program.call("fd_write", 1, VECTOR, count, ANSWER) == Errno.FAULT
        assert program.call("poll_oneoff", DATA, PAGE, count, ANSWER) == Errno.FAULT
        assert program.call("random_get", 0, count) == Errno.FAULT
        assert program.call("path_open", ROOT, 0, PATH, count, 0, 0, 0, 0, ANSWER) == Errno.FAULT
        assert program.call("fd_readdir", ROOT, DATA, count, 0, ANSWER) == Errno.FAULT
        assert program.call("path_readlink", ROOT, *LINK, DATA, count, ANSWER) == Errno.FAULT
    assert program.call("poll_oneoff", DATA, PAGE, 2**32 // 48 + 1, ANSWER) == Errno.FAULT


def test_arguments_do_not_run_over_the_end_of_memory() -> None:
    program = Program(*(settings(), *[argument(b"a" * 100)] * 10))
    assert program.call("args_get", END - 8, DATA) == Errno.FAULT
    assert program.call("args_get", ANSWER, END - 105) == Errno.FAULT


def test_vectors_whose_lengths_add_up_to_more_than_can_be_answered_are_refused() -> None:
    program = Program(settings(), preopen(), file(b"file", b"x"))
    program.memory.grow(program.store, 1022)  # 64 MiB
    program.write(VECTOR, struct.pack("<II", 0, 64 << 20) * 64)
    fd = program.open(b"file", 0, REGULAR_RIGHTS)
    program.write(VECTOR, struct.pack("<II", 0, 64 << 20) * 64)
    for call in ("fd_read", "fd_write"):
        assert program.call(call, fd, VECTOR, 64, PAGE) == Errno.INVAL
    assert program.call("fd_write", 1, VECTOR, 64, PAGE) == Errno.INVAL
    assert program.call("fd_write", fd, VECTOR, 63, PAGE) == Errno.NOSPC
    assert program.fstat(fd).size == 1


# ---- Using up memory


def fill(program: Program, fd: int) -> int:
    """Writes until there is no space, ever smaller pieces; how much that was."""
    written, piece = 0, 32768
    while piece:
        try:
            written += program.put(fd, b"z" * piece)
        except Failed as failed:
            assert failed.errno is Errno.NOSPC
            piece //= 2
    return written


def test_a_file_takes_nearly_all_memory_and_gives_it_back() -> None:
    program = Program(settings(), preopen(), files=4 << 20)
    most = 0
    for _ in range(5):
        fd = program.create(b"f")
        written = fill(program, fd)
        assert written > (3 << 20)
        assert most in (0, written)
        most = written
        assert program.fstat(fd).size == written
        program.close(fd)
        program.unlink(b"f")


def test_memory_comes_back_by_truncating_closing_and_removing() -> None:
    program = Program(settings(), preopen(), files=1 << 20)
    fd = program.create(b"f")
    most = fill(program, fd)
    program.ask("fd_filestat_set_size", fd, 100)
    other = program.create(b"g")
    assert fill(program, other) > most - 10_000
    program.unlink(b"g")
    with fails(Errno.NOSPC):
        program.ask("fd_allocate", fd, 0, most // 2)
    program.close(other)
    program.ask("fd_allocate", fd, 0, most // 2)


def test_memory_of_what_was_staged_is_used_again() -> None:
    program = Program(settings(), preopen(), stdin(b"i" * 300_000), file(b"f", b"f" * 300_000), files=700_000)
    fd = program.create(b"g")
    assert fill(program, fd) < 250_000
    program.unlink(b"f")
    other = program.create(b"h")
    assert fill(program, other) > 290_000
    program.close(0)
    third = program.create(b"i")
    assert fill(program, third) > 290_000


def test_appending_to_many_files_in_turn_stays_cheap() -> None:
    program = Program(settings(), preopen(), files=8 << 20)
    fds = [program.create(b"%d" % number) for number in range(8)]
    costs = []
    for _ in range(200):
        before = program.fuel()
        for fd in fds:
            program.put(fd, b"x" * 1000)
        costs.append(program.fuel() - before)
    assert sum(costs[100:]) < 3 * sum(costs[:100])
    assert program.content(b"5") == b"x" * 200_000


def test_names_run_out_cleanly_and_come_back() -> None:
    program = Program(settings(), preopen(), files=1 << 17)
    counts = []
    for make, remove in (
        (program.mkdir, program.rmdir),
        (lambda name: program.close(program.create(name)), program.unlink),
        (lambda name: program.symlink(b"x", name), program.unlink),
        (program.mkdir, program.rmdir),
    ):
        made: list[bytes] = []
        with fails(Errno.NOMEM):
            for number in range(10_000):
                make(b"%05d" % number)
                made.append(b"%05d" % number)
        with fails(Errno.NOMEM):
            program.listing(ROOT)
        for name in made:
            remove(name)
        assert program.names(ROOT) == [b".", b".."]
        counts.append(len(made))
    assert min(counts) > 500
    assert abs(counts[0] - counts[-1]) < 10


def test_hard_links_and_long_names_run_out_too() -> None:
    program = Program(settings(), preopen(), file(b"file"), files=1 << 17)
    with fails(Errno.NOMEM):
        for number in range(10_000):
            program.link(b"file", b"%0255d" % number)
    links = program.stat(b"file").links
    assert 300 < links < 1000
    with fails(Errno.NOMEM):
        program.symlink(b"t" * 4000, b"s" * 255)
    with fails(Errno.NOENT):
        program.stat(b"s" * 255)


def test_directories_as_deep_as_memory_allows() -> None:
    program = Program(settings(), preopen(), files=1 << 17)
    fd, depth = program.folder(b"."), 0
    try:
        while True:
            program.mkdir(b"d", at=fd)
            below = program.folder(b"d", at=fd)
            program.close(fd)
            fd, depth = below, depth + 1
    except Failed as failed:
        assert failed.errno is Errno.NOMEM
    assert depth > 500
    assert len(program.names(fd)) == 2


@pytest.mark.parametrize("seed", range(8))
def test_files_keep_their_bytes_whatever_is_done_around_them(seed: int) -> None:
    """Random operations, compared with a dictionary of byte strings."""
    dice = random.Random(seed)
    program = Program(settings(), preopen(), file(b"0", b"staged" * 50), files=150_000)
    expected, fds = {b"0": bytearray(b"staged" * 50)}, {b"0": program.open(b"0", 0, REGULAR_RIGHTS)}
    full = False
    for _ in range(1500):
        name = b"%d" % dice.randrange(12)
        try:
            if name not in fds:
                fds[name], expected[name] = program.create(name), bytearray()
                continue
            action, content = dice.randrange(8), expected[name]
            if action < 4:
                offset, data = dice.randrange(len(content) + 2000), dice.randbytes(dice.randrange(12_000))
                program.put(fds[name], data, offset=offset)
                if data:
                    content.extend(bytes(max(0, offset - len(content))))
                    content[offset : offset + len(data)] = data
            elif action == 4:
                size = dice.randrange(20_000)
                program.ask("fd_filestat_set_size", fds[name], size)
                content.extend(bytes(max(0, size - len(content))))
                del content[size:]
            elif action == 5:
                program.unlink(name)
                program.close(fds.pop(name))
                del expected[name]
            elif action == 6:
                assert program.content(name) == content
            else:
                program.rename(name, b"moved")
                program.rename(b"moved", name)
        except Failed as failed:
            assert failed.errno in (Errno.NOSPC, Errno.NOMEM)
            full = True
    assert full
    for name, content in expected.items():
        assert program.content(name) == content


def test_the_output_is_true_wherever_fuel_runs_out() -> None:
    """Also between growing a stream's memory and freeing what it had before."""
    pattern = bytes(range(1, 251)) * 40
    ended_within = set()
    for budget in range(100, 16_000, 37):
        program = Program(settings(stdout=8000), preopen())
        program.create(b"f", b"x")
        program.write(DATA, pattern)
        program.store.set_fuel(budget)
        written = 0
        with pytest.raises(wasmtime.Trap):
            while True:
                program.write(VECTOR, struct.pack("<II", DATA + written, 250))
                program.ask("fd_write", 1, VECTOR, 1, ANSWER)
                written += 250
                if written > 8000:
                    program.store.set_fuel(0)
        result = program.result()
        assert result.stdout == pattern[: len(result.stdout)]
        assert len(result.stdout) in (min(written, 8000), min(written + 250, 8000))
        ended_within.add(len(result.stdout))
    assert len(ended_within) > 5


def test_any_numbers_at_all_are_answered() -> None:
    """A short form of what the fuzzing tests do for long."""
    dice = random.Random(1)
    interesting = [0, 1, 2, 3, 4, 5, 8, 16, 64, 256, 1024, 8192, END - 8, END - 1, END, 2**31, TOP, 2**32, 2**63 - 1, 2**63, 2**64 - 1]
    program = Program(settings(), preopen(), file(b"file", b"0123456789"), folder(b"dir"), symlink(b"link", b"file"), stdin(b"input"))
    for _ in range(5000):
        name = dice.choice([one for one in SIGNATURES if one != "proc_exit"])
        program.write(dice.randrange(END - 64), dice.choice([b"file", b"dir/new", b"../x", dice.randbytes(64), struct.pack("<II", 0, 64)]))
        program.call(name, *(dice.choice([dice.choice(interesting), dice.getrandbits(16)]) for _ in SIGNATURES[name][0]))
    program.finish()
