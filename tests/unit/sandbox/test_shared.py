"""The memory in which requests reach a worker: it reads what was put there, can do nothing to it, and keeps none of it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.sandbox.abi import REQUEST_BYTES
from edgenode.sandbox.shared import KEPT_BYTES, RequestArea

from . import children

OPEN = """
    import ctypes, fcntl, json, mmap, os, sys
    from edgenode.sandbox.libc import LIBC, call
    from edgenode.sandbox.shared import open_area

    descriptor = int(sys.argv[1])
"""
LARGE = 8 * 1024 * 1024


@pytest.fixture
def area() -> Iterator[RequestArea]:
    one = RequestArea()
    yield one
    one.close()


def held(area: RequestArea) -> int:
    """Bytes of memory that the area has."""
    return os.fstat(area.descriptor).st_blocks * 512


def test_a_worker_reads_the_parts_one_after_another(area: RequestArea) -> None:
    assert area.put(b"head", b"", memoryview(b"and frame")[4:]) == 9
    script = "area = open_area(descriptor); print(bytes(area[:9]).decode(), len(area))"
    assert children.output(OPEN, script, arguments=[area.descriptor], inherit=[area.descriptor]) == f"headframe {REQUEST_BYTES}"


def test_a_worker_reads_what_comes_after_it_has_mapped_the_area(area: RequestArea) -> None:
    area.put(b"short")
    script = f"area = open_area(descriptor); print(flush=True); sys.stdin.read(1); print(bytes(area[{LARGE} : {LARGE} + 4]).decode())"
    with children.start(OPEN, script, arguments=[area.descriptor], inherit=[area.descriptor]) as child:
        assert child.stdout and child.stdout.readline()
        assert area.put(bytes(LARGE), b"last") == LARGE + 4
        assert child.communicate("x")[0].strip() == "last"


def test_a_worker_can_neither_change_nor_truncate_it(area: RequestArea) -> None:
    area.put(bytes(LARGE))
    script = """
    def protect():
        mapped = LIBC["mmap"]
        mapped.restype = ctypes.c_void_p
        at = mapped(None, ctypes.c_size_t(4096), mmap.PROT_READ, mmap.MAP_SHARED, descriptor, ctypes.c_long(0))
        call("mprotect", at, 4096, mmap.PROT_READ | mmap.PROT_WRITE)

    attempts = {
        "write": lambda: os.pwrite(descriptor, b"x", 0),
        "truncate": lambda: os.ftruncate(descriptor, 0),
        "punch a hole": lambda: call("fallocate", descriptor, 3, 0, 4096),
        "map for writing": lambda: mmap.mmap(descriptor, 4096),
        "make a mapping writable": protect,
        "remove pages": lambda: mmap.mmap(descriptor, 4096, prot=mmap.PROT_READ).madvise(mmap.MADV_REMOVE),
        "seal": lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE),
    }
    done = []
    for name, attempt in attempts.items():
        try:
            attempt()
            done.append(name)
        except OSError:
            pass
    area = open_area(descriptor)
    try:
        area[0] = 1
        done.append("assign")
    except TypeError:
        pass
    links = (f"/proc/self/fd/{one}" for one in range(64))
    left = [link for link in links if os.path.lexists(link) and "request" in os.readlink(link)]
    print(json.dumps([done, left]))
    """
    assert json.loads(children.output(OPEN, script, arguments=[area.descriptor], inherit=[area.descriptor])) == [[], []]
    assert held(area) == LARGE


def test_a_worker_gets_no_memory_by_reading_beyond_the_request(area: RequestArea) -> None:
    area.put(b"short")
    before = held(area)
    script = "open_area(descriptor)[2**24]"
    assert children.run(OPEN, script, arguments=[area.descriptor], inherit=[area.descriptor]).returncode == -signal.SIGBUS
    assert held(area) == before
    assert area.put(b"goes on") == 7


def test_the_agent_has_no_mapping_that_could_lose_a_page(area: RequestArea) -> None:
    area.put(bytes(LARGE))
    assert "memfd:request" not in Path("/proc/self/maps").read_text()


def test_memory_of_a_large_request_goes_back(area: RequestArea) -> None:
    length = area.put(bytes(LARGE))
    assert held(area) == LARGE
    area.release(length)
    assert held(area) <= KEPT_BYTES


def test_memory_of_a_small_one_stays_for_the_next(area: RequestArea) -> None:
    length = area.put(bytes(KEPT_BYTES))
    area.release(length)
    assert held(area) == KEPT_BYTES


def test_a_request_longer_than_a_guest_can_be_told_is_refused(area: RequestArea) -> None:
    block = bytes(1 << 20)
    with pytest.raises(ValueError, match=f"at most {REQUEST_BYTES} bytes"):
        area.put(*[block] * 4096)
    assert held(area) == 0


def open_descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


def test_closing_gives_everything_back() -> None:
    before = open_descriptors()
    area = RequestArea()
    area.put(b"x")
    area.close()
    assert open_descriptors() == before
