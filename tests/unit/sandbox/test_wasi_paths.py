"""Paths: how they are resolved, never out of the directory that they begin in, and what is opened by them."""

from __future__ import annotations

import pytest

from .wasi_guest import Errno, file, folder, preopen, settings, symlink
from .wasi_program import CREAT, DATA, DIRECTORY, EXCL, FOLDER, NONBLOCK, REGULAR, ROOT, SYMLINK, TRUNC, Program, Right, fails


@pytest.fixture(name="program")
def _program() -> Program:
    return Program(
        settings(), preopen(), folder(b"dir"), folder(b"dir/nested"), file(b"dir/nested/file", b"content"), file(b"file", b"top")
    )


# ---- Resolution


@pytest.mark.parametrize(
    "path",
    [b"dir/nested/file", b"./dir/./nested//file", b"dir/.//nested/../../dir/nested/../nested///./file", b"dir/../dir/nested/file"],
)
def test_a_file_has_many_paths(program: Program, path: bytes) -> None:
    assert program.content(path) == b"content"


@pytest.mark.parametrize("path", [b"dir/nested/", b"dir/nested///", b"dir/nested/.", b"dir/nested/../nested"])
def test_a_directory_may_have_slashes_and_dots_behind_it(program: Program, path: bytes) -> None:
    assert program.descriptor(program.open(path)).type == FOLDER


@pytest.mark.parametrize(
    ("path", "errno"),
    [
        (b"", Errno.NOENT),
        (b"none", Errno.NOENT),
        (b"none/", Errno.NOENT),
        (b"none/file", Errno.NOENT),
        (b"none/../file", Errno.NOENT),
        (b"file/", Errno.NOTDIR),
        (b"file///", Errno.NOTDIR),
        (b"file/.", Errno.NOTDIR),
        (b"file/..", Errno.NOTDIR),
        (b"file/x", Errno.NOTDIR),
        (b"file\0", Errno.INVAL),
        (b"fi\0le", Errno.INVAL),
        (b"/", Errno.NOTCAPABLE),
        (b"/file", Errno.NOTCAPABLE),
        (b"..", Errno.NOTCAPABLE),
        (b"../", Errno.NOTCAPABLE),
        (b"./..", Errno.NOTCAPABLE),
        (b"dir/../../file", Errno.NOTCAPABLE),
        (b"dir/nested/../../../dir/nested/file", Errno.NOTCAPABLE),
        (b"n" * 256, Errno.NAMETOOLONG),
        (b"n" * 256 + b"/x", Errno.NAMETOOLONG),
        (b"./" * 2049, Errno.NAMETOOLONG),
    ],
)
def test_wrong_paths_are_refused_by_every_call(program: Program, path: bytes, errno: Errno) -> None:
    with fails(errno):
        program.open(path)
    with fails(errno):
        program.stat(path)
    with fails(errno):
        program.readlink(path)
    with fails(errno):
        program.link(path, b"new")
    if path.strip(b"/") != b"none" and not path.endswith((b"/.", b"/..")):  # those are fine, or fail elsewise, for a new name
        for call in (program.mkdir, program.unlink, program.rmdir):
            with fails(errno):
                call(path)


def test_the_longest_name_and_path_work(program: Program) -> None:
    program.create(b"n" * 255, b"x")
    path = b"./" * 1920 + b"n" * 255
    assert len(path) == 4095
    assert program.content(path) == b"x"


def test_a_path_does_not_climb_out_of_the_directory_it_begins_in(program: Program) -> None:
    fd = program.folder(b"dir/nested")
    assert program.get(program.open(b"file", at=fd)) == b"content"
    for path in (b"..", b"../nested/file", b"../../file"):
        with fails(Errno.NOTCAPABLE):
            program.open(path, at=fd)


def test_only_a_directory_is_a_place_to_begin(program: Program) -> None:
    fd = program.open(b"file")
    with fails(Errno.NOTDIR):
        program.open(b"foo", CREAT, at=fd)
    with fails(Errno.NOTDIR):
        program.open(b"foo", at=0)
    with fails(Errno.NOTDIR):
        program.listing(fd)


# ---- Symbolic links


def test_symbolic_links_are_followed_on_the_way_and_on_demand_at_the_end(program: Program) -> None:
    program.symlink(b"dir/nested", b"link")
    program.symlink(b"../../link/file", b"dir/nested/second")
    assert program.content(b"link/file") == b"content"
    assert program.get(program.open(b"dir/nested/second", follow=True)) == b"content"
    assert program.stat(b"link").type == SYMLINK
    assert program.stat(b"link").size == 10
    assert program.stat(b"link", follow=True).type == program.stat(b"link/").type == program.stat(b"link/.").type == FOLDER
    assert program.stat(b"dir/nested/second", follow=True).type == REGULAR
    assert [entry.type for entry in program.listing(program.folder(b"link/"))] == [FOLDER, FOLDER, REGULAR, SYMLINK]


def test_a_link_that_is_not_followed_is_not_opened(program: Program) -> None:
    program.symlink(b"dir", b"link")
    program.symlink(b"none", b"dangling")
    for oflags in (0, DIRECTORY, CREAT):
        for link in (b"link", b"dangling"):
            with fails(Errno.LOOP):
                program.open(link, oflags)
    program.open(b"link", DIRECTORY, follow=True)
    with fails(Errno.NOENT):
        program.open(b"dangling", follow=True)
    program.unlink(b"link")
    program.symlink(b"file", b"link")
    with fails(Errno.NOTDIR):
        program.open(b"link", DIRECTORY, follow=True)
    with fails(Errno.NOTDIR):
        program.open(b"link/", follow=True)


def test_a_dangling_link_can_be_opened_to_create_what_it_points_to(program: Program) -> None:
    program.symlink(b"dir/new", b"link")
    with fails(Errno.EXIST):
        program.open(b"link", CREAT | EXCL, follow=True)
    program.close(program.open(b"link", CREAT, follow=True))
    assert program.stat(b"dir/new").type == REGULAR


def test_loops_of_links_end(program: Program) -> None:
    program.symlink(b"self", b"self")
    program.symlink(b"b/x", b"a")
    program.symlink(b"a/y", b"b")
    for path in (b"self", b"a", b"b", b"self/x", b"a/z"):
        with fails(Errno.LOOP):
            program.stat(path, follow=True)
    with fails(Errno.LOOP):
        program.open(b"self")
    assert program.stat(b"self").type == SYMLINK


def test_a_chain_of_40_links_is_followed_and_no_longer_one(program: Program) -> None:
    program.symlink(b"file", b"1")
    for number in range(2, 42):
        program.symlink(b"%d" % (number - 1), b"%d" % number)
    assert program.stat(b"40", follow=True).size == 3
    with fails(Errno.LOOP):
        program.stat(b"41", follow=True)


def test_links_that_grow_the_path_are_bounded(program: Program) -> None:
    program.symlink(b"dir/../" * 580 + b"dir", b"long")
    assert program.stat(b"long/nested", follow=True).type == FOLDER
    with fails(Errno.NAMETOOLONG):
        program.stat(b"long/nested/../" + b"nested/../" * 10)
    with fails(Errno.NAMETOOLONG):
        program.symlink(b"x" * 4097, b"longer")


@pytest.mark.parametrize("target", [b"/", b"/file", b"..", b"dir/../../file", b"dir/../.."])
def test_a_link_leads_nowhere_outside(target: bytes) -> None:
    program = Program(settings(), preopen(), folder(b"dir"), file(b"file"), symlink(b"link", target))
    for path in (b"link", b"link/file"):
        with fails(Errno.NOTCAPABLE):
            program.open(path, CREAT, follow=True)
        with fails(Errno.NOTCAPABLE):
            program.stat(path, follow=True)
    assert program.readlink(b"link") == target


def test_a_link_to_outside_of_the_directory_it_is_reached_from_is_refused(program: Program) -> None:
    program.symlink(b"../../file", b"dir/nested/link")
    assert program.stat(b"dir/nested/link", follow=True).size == 3
    with fails(Errno.NOTCAPABLE):
        program.stat(b"link", follow=True, at=program.folder(b"dir/nested"))


def test_making_links(program: Program) -> None:
    for path, errno in (
        (b"new/", Errno.NOENT),
        (b"dir", Errno.EXIST),
        (b"dir/", Errno.EXIST),
        (b"dir/.", Errno.EXIST),
        (b"file", Errno.EXIST),
        (b"file/", Errno.NOTDIR),
    ):
        with fails(errno):
            program.symlink(b"target", path)
    for target, errno in ((b"", Errno.NOENT), (b"/", Errno.NOTCAPABLE), (b"a\0b", Errno.INVAL)):
        with fails(errno):
            program.symlink(target, b"new")


def test_reading_links(program: Program) -> None:
    program.symlink(b"target", b"link")
    assert program.readlink(b"link", 10) == b"target"
    program.write(DATA, b"------")
    assert program.readlink(b"link", 4) == b"targ"
    assert program.read(DATA, 6) == b"targ--"
    assert program.readlink(b"link", 0) == b""
    for path in (b"file", b"dir", b"."):
        with fails(Errno.INVAL):
            program.readlink(path)


def test_times_of_a_link_are_its_own(program: Program) -> None:
    program.symlink(b"file", b"link")
    program.write(1024, b"link")
    program.ask("path_filestat_set_times", ROOT, 0, 1024, 4, 1, 2, 1 | 4)
    program.ask("path_filestat_set_times", ROOT, 1, 1024, 4, 3, 4, 1 | 4)
    assert program.stat(b"link")[5:7] == (1, 2)
    assert program.stat(b"file")[5:7] == program.stat(b"link", follow=True)[5:7] == (3, 4)


# ---- Opening


def test_creating(program: Program) -> None:
    program.close(program.open(b"new", CREAT))
    assert program.stat(b"new").size == 0
    program.close(program.open(b"file", CREAT))
    assert program.content(b"file") == b"top"
    for path in (b"file", b"dir", b"."):
        with fails(Errno.EXIST):
            program.open(path, CREAT | EXCL)
    program.open(b"file", EXCL)
    with fails(Errno.ISDIR):
        program.open(b"other/", CREAT)
    with fails(Errno.NOENT):
        program.open(b"none/file", CREAT)


def test_truncating_on_opening(program: Program) -> None:
    program.close(program.open(b"file", TRUNC, 0))
    assert program.stat(b"file").size == 0
    with fails(Errno.ISDIR):
        program.open(b"dir", TRUNC)


def test_truncating_needs_its_right(program: Program) -> None:
    rights = program.descriptor(ROOT)
    program.ask("fd_fdstat_set_rights", ROOT, rights.base, rights.inheriting & ~Right.SET_SIZE)
    program.open(b"file", TRUNC, 0)
    program.ask("fd_fdstat_set_rights", ROOT, rights.base & ~Right.PATH_SET_SIZE, 0)
    with fails(Errno.NOTCAPABLE):
        program.open(b"file", TRUNC, 0)


def test_opening_directories(program: Program) -> None:
    rights = program.descriptor(ROOT)
    for path in (b".", b"dir"):
        for oflags in (0, DIRECTORY):
            for base in (0, Right.READ, Right.SEEK, rights.base):
                assert not program.descriptor(program.open(path, oflags, base)).base & Right.SEEK
            with fails(Errno.ISDIR):
                program.open(path, oflags, Right.READ | Right.WRITE)
        with fails(Errno.ISDIR):
            program.open(path, CREAT, 0)
    program.open(b".", 0, 0, flags=NONBLOCK)
    with fails(Errno.NOTDIR):
        program.open(b"file", DIRECTORY)
    with fails(Errno.NOENT):
        program.open(b"none", DIRECTORY)
    for oflags in (DIRECTORY | CREAT, DIRECTORY | TRUNC):
        with fails(Errno.INVAL):
            program.open(b"dir", oflags, 0)


def test_unknown_flags_are_refused(program: Program) -> None:
    program.write(1024, b"file")
    for lookup, oflags, flags in ((2, 0, 0), (-1, 0, 0), (0, 16, 0), (0, 0x10000, 0), (0, 0, 32), (0, 0, 0x10000)):
        assert program.call("path_open", ROOT, lookup, 1024, 4, oflags, 0, 0, flags, 0) == Errno.INVAL
    assert program.call("path_filestat_get", ROOT, 2, 1024, 4, 0) == Errno.INVAL
    assert program.call("path_filestat_set_times", ROOT, 2, 1024, 4, 0, 0, 0) == Errno.INVAL
    assert program.call("path_link", ROOT, 2, 1024, 4, ROOT, 1024, 4) == Errno.INVAL
