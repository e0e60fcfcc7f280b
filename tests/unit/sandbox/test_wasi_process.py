"""What a program is given beside files: arguments, environment, clocks, random bytes, standard streams, waiting; and what it is not."""

from __future__ import annotations

import struct

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms

from .wasi_guest import CLOCK, SEED, Errno, argument, preopen, settings, stdin, variable
from .wasi_program import ANSWER, CREAT, DATA, REGULAR, UNKNOWN, Event, Program, Right, fails, ready, until

REALTIME, MONOTONIC = 0, 1
END = 2**64 - 1


def test_arguments_and_environment_come_as_given() -> None:
    arguments = [b"prog", b"", b"12345678", "ä b".encode()]
    program = Program(settings(), *map(argument, arguments), variable(b"A=1"), variable(b"B="))
    assert program.strings("args") == arguments
    assert program.strings("environ") == [b"A=1", b"B="]


def test_a_program_may_have_no_arguments_and_no_environment() -> None:
    program = Program(settings())
    assert program.strings("args") == program.strings("environ") == []


def test_clocks_move_a_fixed_step_when_they_are_read() -> None:
    program = Program(settings())
    assert [program.time() for _ in range(3)] == [CLOCK, CLOCK + 1000, CLOCK + 2000]
    assert [program.time(clock) for clock in (1, 2, 3, 0)] == [4000, 5000, 6000, CLOCK + 6000]
    for clock in range(4):
        program.ask("clock_res_get", clock, ANSWER)
        assert program.numbers(ANSWER, "Q") == (1000,)


def test_the_monotonic_clock_never_shows_0() -> None:
    assert Program(settings()).time(MONOTONIC) == 1000


@pytest.mark.parametrize("clock", [4, -1])
def test_other_clocks_are_refused(clock: int) -> None:
    program = Program(settings())
    assert program.call("clock_time_get", clock, 0, ANSWER) == program.call("clock_res_get", clock, ANSWER) == Errno.INVAL


def test_random_bytes_are_one_keystream_however_they_are_asked_for() -> None:
    cipher = Cipher(algorithms.ChaCha20(SEED, bytes(16)), None)
    expected = cipher.encryptor().update(bytes(5000))
    assert Program(settings()).random(5000) == expected
    program = Program(settings())
    assert b"".join(program.random(length) for length in (1, 0, 63, 64, 65, 1000, 7, 3800)) == expected


def test_stdin_is_a_file_that_ends() -> None:
    program = Program(settings(), stdin(b"0123456789"))
    assert program.descriptor(0).type == REGULAR
    assert program.fstat(0).size == 10
    assert [program.get(0, 4) for _ in range(4)] == [b"0123", b"4567", b"89", b""]
    assert program.seek(0, -3, 2) == 7
    assert program.get(0) == b"789"
    with fails(Errno.BADF):
        program.put(0, b"x")
    with fails(Errno.NOTCAPABLE):
        program.ask("fd_filestat_set_size", 0, 0)


def test_without_an_input_stdin_is_empty() -> None:
    assert Program(settings()).get(0) == b""


@pytest.mark.parametrize("fd", [1, 2])
def test_output_streams_take_bytes_and_nothing_else(fd: int) -> None:
    program = Program(settings())
    assert program.put(fd, b"first ") == 6
    assert program.put(fd, b"second") == 6
    assert program.descriptor(fd).type == program.fstat(fd).type == UNKNOWN  # not a terminal
    with fails(Errno.SPIPE):
        program.seek(fd, 0, 1)
    with fails(Errno.SPIPE):
        program.tell(fd)
    with fails(Errno.SPIPE):
        program.put(fd, b"x", offset=0)
    with fails(Errno.SPIPE):
        program.ask("fd_filestat_set_size", fd, 0)
    with fails(Errno.SPIPE):
        program.ask("fd_allocate", fd, 0, 1)
    with fails(Errno.BADF):
        program.get(fd)
    program.ask("fd_sync", fd)
    result = program.result()
    assert (result.stdout, result.stderr)[fd - 1] == b"first second"
    assert (result.stdout, result.stderr)[2 - fd] == b""


@pytest.mark.parametrize("fd", [1, 2])
def test_what_floods_an_output_stream_is_counted_as_written_and_dropped(fd: int) -> None:
    program = Program(settings(stdout=10, stderr=10))
    assert program.put(fd, b"12345678") == 8
    assert not any((program.result().stdout_lost, program.result().stderr_lost))
    assert program.put(fd, b"90") == 2
    assert not any((program.result().stdout_lost, program.result().stderr_lost))
    assert program.put(fd, b"abc") == 3
    assert program.put(fd, b"d") == 1
    assert program.result()[2 * fd : 2 * fd + 2] == (b"1234567890", 1)
    assert program.result()[6 - 2 * fd : 8 - 2 * fd] == (b"", 0)


def test_a_flood_costs_no_memory() -> None:
    program = Program(settings(stdout=100), preopen(), files=1 << 17)
    for _ in range(100):
        program.put(1, bytes(40_000))
    program.create(b"f", bytes(40_000))
    assert program.result().stdout == bytes(100)


def test_a_standard_stream_keeps_what_was_written_when_it_is_closed_or_moved() -> None:
    program = Program(settings(), preopen())
    program.put(1, b"before ")
    program.put(2, b"log")
    fd = program.create(b"f")
    program.ask("fd_renumber", 1, fd)
    program.put(fd, b"after")
    program.close(fd)
    program.close(2)
    with fails(Errno.BADF):
        program.put(1, b"x")
    assert (program.result().stdout, program.result().stderr) == (b"before after", b"log")


def test_a_file_can_take_the_place_of_stdout() -> None:
    program = Program(settings(), preopen())
    program.ask("fd_renumber", program.create(b"f"), 1)
    program.put(1, b"into the file")
    assert program.content(b"f") == b"into the file"
    assert program.result().stdout == b""


def test_sleeping_moves_virtual_time_and_costs_next_to_nothing() -> None:
    program = Program(settings())
    before = program.fuel()
    year = 365 * 24 * 3600 * 10**9
    assert program.poll(until(MONOTONIC, year)) == [Event(1, 0, 0, 0)]
    assert program.fuel() - before < 10_000
    assert program.time() == CLOCK + year
    assert program.poll(until(REALTIME, CLOCK + 2 * year, absolute=True)) == [Event(1, 0, 0, 0)]
    assert program.time() == CLOCK + 2 * year
    program.poll(until(REALTIME, CLOCK, absolute=True))
    assert program.time() == CLOCK + 2 * year + 1000


def test_the_first_of_several_timers_ends_a_wait() -> None:
    program = Program(settings())
    timers = [until(MONOTONIC, 9000, userdata=9), until(REALTIME, 5000, userdata=5), until(MONOTONIC, 6000, absolute=True, userdata=6)]
    assert [event.userdata for event in program.poll(*timers)] == [5, 6]
    assert program.time() == CLOCK + 5000


def test_an_endless_wait_ends_at_the_end_of_time() -> None:
    program = Program(settings())
    for _ in range(3):
        assert program.poll(until(MONOTONIC, END)) == [Event(1, 0, 0, 0)]
    assert program.time() == program.time() == END
    assert program.time(MONOTONIC) == END - CLOCK + 1000


def test_descriptors_are_always_ready_so_that_time_stands_still() -> None:
    program = Program(settings(), stdin(b"12345"), preopen())
    fd = program.create(b"f", b"abc")
    events = program.poll(
        until(MONOTONIC, 200), ready(0, userdata=7), ready(1, write=True, userdata=8), ready(fd, userdata=9), ready(3, userdata=10)
    )
    assert events == [Event(7, 0, 1, 5), Event(8, 0, 2, 4096), Event(9, 0, 1, 0), Event(10, 0, 1, 0)]
    assert program.time() == CLOCK


def test_a_subscription_that_cannot_be_met_is_answered_at_once() -> None:
    program = Program(settings(), preopen())
    blind = program.open(b"f", CREAT, Right.READ)
    events = program.poll(ready(99, userdata=1), until(4, 0, userdata=2), ready(blind, userdata=3), until(MONOTONIC, 10**9, userdata=4))
    assert events == [Event(1, Errno.BADF, 1, 0), Event(2, Errno.INVAL, 0, 0), Event(3, Errno.NOTCAPABLE, 1, 0)]
    assert program.time() == CLOCK


def test_no_subscription_and_an_unknown_kind_are_refused() -> None:
    program = Program(settings())
    with fails(Errno.INVAL):
        program.poll()
    with fails(Errno.INVAL):
        program.poll(struct.pack("<QB39x", 1, 3))


def test_nobody_can_be_signalled_and_everybody_may_yield() -> None:
    program = Program(settings())
    assert program.call("proc_raise", 6) == Errno.NOTSUP
    assert program.call("sched_yield") == Errno.SUCCESS


@pytest.mark.parametrize(("fd", "errno"), [(0, Errno.NOTSOCK), (1, Errno.NOTSOCK), (3, Errno.NOTSOCK), (4, Errno.BADF), (-1, Errno.BADF)])
def test_no_descriptor_is_a_socket(fd: int, errno: Errno) -> None:
    program = Program(settings(), preopen())
    assert program.call("sock_accept", fd, 0, ANSWER) == errno
    assert program.call("sock_recv", fd, DATA, 0, 0, ANSWER, ANSWER) == errno
    assert program.call("sock_send", fd, DATA, 0, 0, ANSWER) == errno
    assert program.call("sock_shutdown", fd, 1) == errno
