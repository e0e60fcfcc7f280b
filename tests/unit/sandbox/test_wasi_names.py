"""Names in directories: made, removed, linked, renamed and listed."""

from __future__ import annotations

import pytest

from .wasi_guest import Errno, file, folder, preopen, settings
from .wasi_program import CREAT, DATA, FOLDER, REGULAR_RIGHTS, ROOT, Program, fails


@pytest.fixture(name="program")
def _program() -> Program:
    return Program(
        settings(), preopen(), folder(b"dir"), folder(b"dir/nested"), file(b"dir/nested/file", b"content"), file(b"file", b"top")
    )


# ---- Removing


def test_an_open_file_outlives_its_name(program: Program) -> None:
    fd = program.open(b"file", 0, REGULAR_RIGHTS)
    program.unlink(b"file")
    program.create(b"file", b"another")
    assert program.get(fd) == b"top"
    program.put(fd, b" more")
    assert program.get(fd, offset=0) == b"top more"
    assert program.fstat(fd).links == 0
    assert program.content(b"file") == b"another"


def test_an_open_directory_outlives_its_name_and_takes_nothing_new(program: Program) -> None:
    program.mkdir(b"gone")
    fd = program.folder(b"gone")
    program.rmdir(b"gone")
    program.mkdir(b"gone")
    assert program.names(fd) == [b".", b".."]
    assert program.fstat(fd).links == 0
    for call in (lambda: program.open(b"f", CREAT, at=fd), lambda: program.mkdir(b"f", at=fd), lambda: program.symlink(b"x", b"f", at=fd)):
        with fails(Errno.NOENT):
            call()
    with fails(Errno.NOENT):
        program.link(b"file", b"f", to=fd)
    with fails(Errno.NOENT):
        program.rename(b"file", b"f", to=fd)
    program.open(b".", at=fd)


def test_removing_files(program: Program) -> None:
    for path in (b"dir", b"dir/", b"."):
        with fails(Errno.ISDIR):
            program.unlink(path)
    with fails(Errno.NOTDIR):
        program.unlink(b"file/")
    program.unlink(b"file")
    with fails(Errno.NOENT):
        program.unlink(b"file")
    program.symlink(b"dir", b"link")
    with fails(Errno.NOTDIR):
        program.unlink(b"link/")
    program.unlink(b"link")
    assert program.stat(b"dir").type == FOLDER


def test_removing_directories(program: Program) -> None:
    for path, errno in (
        (b"dir", Errno.NOTEMPTY),
        (b"dir/", Errno.NOTEMPTY),
        (b"file", Errno.NOTDIR),
        (b"file/", Errno.NOTDIR),
        (b".", Errno.INVAL),
        (b"dir/nested/.", Errno.INVAL),
        (b"none", Errno.NOENT),
    ):
        with fails(errno):
            program.rmdir(path)
    program.unlink(b"dir/nested/file")
    program.rmdir(b"dir/nested/")
    program.rmdir(b"dir")
    program.symlink(b".", b"link")
    for path in (b"link", b"link/"):
        with fails(Errno.NOTDIR):
            program.rmdir(path)


def test_making_directories(program: Program) -> None:
    program.mkdir(b"new/")
    program.mkdir(b"new/deep")
    for path in (b"new", b"file", b".", b"dir/.."):
        with fails(Errno.EXIST):
            program.mkdir(path)
    with fails(Errno.NOENT):
        program.mkdir(b"none/new")


def test_directories_that_are_gone_know_no_parent(program: Program) -> None:
    program.mkdir(b"a")
    program.mkdir(b"a/b")
    fd = program.folder(b"a/b")
    program.rmdir(b"a/b")
    program.rmdir(b"a")
    program.create(b"in its memory", b"x" * 64)
    assert [entry.inode for entry in program.listing(fd)] == [program.fstat(fd).inode] * 2
    with fails(Errno.NOTCAPABLE):
        program.stat(b"..", at=fd)


# ---- Hard links


def test_a_file_may_have_several_names(program: Program) -> None:
    program.link(b"file", b"dir/second")
    first, second = program.stat(b"file"), program.stat(b"dir/second")
    assert first == second
    assert first.links == 2
    program.unlink(b"file")
    assert program.content(b"dir/second") == b"top"
    assert program.stat(b"dir/second").links == 1


@pytest.mark.parametrize(
    ("new", "errno"),
    [(b"file", Errno.EXIST), (b"dir", Errno.EXIST), (b"new/", Errno.NOENT), (b"none/new", Errno.NOENT), (b".", Errno.EXIST)],
)
def test_a_second_name_must_be_new(program: Program, new: bytes, errno: Errno) -> None:
    with fails(errno):
        program.link(b"file", new)
    assert program.stat(b"file").links == 1


def test_directories_have_one_name(program: Program) -> None:
    for path in (b"dir", b"dir/", b"."):
        with fails(Errno.PERM):
            program.link(path, b"new")


def test_symbolic_links_are_linked_themselves_or_followed(program: Program) -> None:
    program.symlink(b"none", b"dangling")
    program.symlink(b"file", b"link")
    program.link(b"dangling", b"second")
    assert program.readlink(b"second") == b"none"
    with fails(Errno.NOENT):
        program.link(b"dangling", b"third", follow=True)
    program.link(b"link", b"third", follow=True)
    assert program.stat(b"third") == program.stat(b"file")
    with fails(Errno.EXIST):
        program.link(b"file", b"dangling")


# ---- Renaming


def test_renaming_files(program: Program) -> None:
    inode = program.stat(b"file").inode
    program.rename(b"file", b"dir/moved")
    with fails(Errno.NOENT):
        program.stat(b"file")
    assert program.stat(b"dir/moved").inode == inode
    program.rename(b"dir/moved", b"dir/nested/file")
    assert program.content(b"dir/nested/file") == b"top"
    assert program.names(program.folder(b"dir/nested")) == [b".", b"..", b"file"]


def test_names_that_sort_around_each_other_are_renamed_in_one_directory(program: Program) -> None:
    for name in (b"b", b"d", b"f"):
        program.create(name, name)
    program.rename(b"d", b"a")
    program.rename(b"b", b"g")
    program.rename(b"f", b"f")
    assert program.names(ROOT)[2:] == [b"a", b"dir", b"f", b"file", b"g"]
    assert [program.content(name) for name in (b"a", b"f", b"g")] == [b"d", b"f", b"b"]


def test_renaming_directories(program: Program) -> None:
    program.rename(b"dir", b"moved")
    assert program.content(b"moved/nested/file") == b"content"
    program.mkdir(b"empty")
    program.rename(b"moved/nested", b"empty")
    assert program.content(b"empty/file") == b"content"
    assert program.content(b"empty/../file") == b"top"
    program.rename(b"moved/", b"new/")
    program.rename(b"new", b"newer/")
    assert program.names(program.folder(b"newer")) == [b".", b".."]


@pytest.mark.parametrize(
    ("old", "new", "errno"),
    [
        (b"none", b"x", Errno.NOENT),
        (b"file", b"dir", Errno.ISDIR),
        (b"file", b"new/", Errno.NOTDIR),
        (b"file/", b"new", Errno.NOTDIR),
        (b"dir", b"file", Errno.NOTDIR),
        (b"empty", b"dir", Errno.NOTEMPTY),
        (b"dir", b"dir/nested", Errno.INVAL),
        (b"dir", b"dir/nested/x", Errno.INVAL),
        (b"dir", b"dir/x", Errno.INVAL),
        (b".", b"x", Errno.BUSY),
        (b"dir", b".", Errno.BUSY),
        (b"dir/nested/..", b"x", Errno.BUSY),
        (b"file", b"none/x", Errno.NOENT),
    ],
)
def test_renaming_what_cannot_be(program: Program, old: bytes, new: bytes, errno: Errno) -> None:
    program.mkdir(b"empty")
    with fails(errno):
        program.rename(old, new)
    assert program.names(ROOT)[2:] == [b"dir", b"empty", b"file"]
    assert program.content(b"dir/nested/file") == b"content"


def test_renaming_to_another_name_of_the_same_file_does_nothing(program: Program) -> None:
    program.link(b"file", b"second")
    program.rename(b"file", b"second")
    program.rename(b"dir", b"dir")
    assert program.stat(b"file").links == 2
    assert program.names(ROOT)[2:] == [b"dir", b"file", b"second"]


def test_renaming_a_link_moves_the_link(program: Program) -> None:
    program.symlink(b"dir", b"link")
    program.rename(b"link", b"moved")
    assert program.readlink(b"moved") == b"dir"


def test_names_move_between_preopens() -> None:
    program = Program(settings(), preopen(b"a"), file(b"f", b"x"), preopen(b"b"))
    program.rename(b"f", b"g", to=4)
    assert program.get(program.open(b"g", at=4)) == b"x"
    assert program.names(ROOT) == [b".", b".."]


def test_a_replaced_file_stays_with_those_who_have_it_open(program: Program) -> None:
    fd = program.open(b"dir/nested/file")
    program.rename(b"file", b"dir/nested/file")
    assert program.get(fd) == b"content"


# ---- Listing


def test_a_listing_is_in_byte_order(program: Program) -> None:
    fd = program.folder(b"dir/nested")
    for name in (b"b", b"a", b"\xc3\xa4", b"a.", b"B", b"aa", b"~"):
        program.create(name, at=fd)
    assert program.names(fd) == [b".", b"..", b"B", b"a", b"a.", b"aa", b"b", b"file", b"~", b"\xc3\xa4"]
    entries = program.listing(fd)
    assert entries[0].inode == program.fstat(fd).inode
    assert entries[1].inode == program.stat(b"dir").inode
    assert {entry.inode for entry in entries[2:]} == {program.stat(entry.name, at=fd).inode for entry in entries[2:]}
    assert [entry.inode for entry in program.listing(ROOT)[:2]] == [program.fstat(ROOT).inode] * 2


def test_a_listing_goes_on_from_any_cookie_and_fills_the_buffer(program: Program) -> None:
    fd = program.folder(b"dir/nested")
    for number in range(20):
        program.create(b"%03d" % number, at=fd)
    everything = program.listing(fd)
    for position, entry in enumerate(everything):
        assert program.listing(fd, entry.cookie) == everything[position + 1 :]
    for room in (1, 23, 24, 25, 26, 52, 53):
        program.ask("fd_readdir", fd, DATA, room, 0, 0)
        assert program.numbers(0, "I") == (room,)
    assert program.listing(fd, 0, 50) == everything[:1]
    assert program.listing(fd, 0, 51) == everything[:2]
    for cookie in (23, 1000, 2**64 - 1):
        assert program.listing(fd, cookie) == []


def test_cookies_hold_while_names_come_and_go(program: Program) -> None:
    fd = program.folder(b"dir/nested")
    program.unlink(b"file", at=fd)
    for number in range(100):
        program.close(program.create(b"%03d" % number, at=fd))
    seen, cookie = [], 0
    while entries := program.listing(fd, cookie, 100):
        cookie = entries[-1].cookie
        for entry in entries:
            if entry.name not in (b".", b".."):
                seen.append(entry.name)
                program.unlink(entry.name, at=fd)
    assert seen == [b"%03d" % number for number in range(100)]
    program.rmdir(b"dir/nested")


def test_what_is_new_shows_when_a_listing_begins_anew(program: Program) -> None:
    fd = program.folder(b"dir/nested")
    cookie = program.listing(fd, 0, 60)[-1].cookie
    program.create(b"a", at=fd)
    program.unlink(b"file", at=fd)
    assert program.listing(fd, cookie) == []
    assert program.names(fd) == [b".", b"..", b"a"]


def test_a_thousand_files_in_one_directory(program: Program) -> None:
    fd = program.folder(b"dir/nested")
    for number in range(1000):
        program.close(program.create(b"file.%d" % number, at=fd))
    assert program.names(fd) == [b".", b"..", *sorted([b"file", *(b"file.%d" % number for number in range(1000))])]
