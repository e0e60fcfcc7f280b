"""What a machine can do to a node: a clear error at the start, or a result that comes late but is not lost."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.agent import Agent
from edgenode.errors import ConfigError, RefusedError, StorageError, StorageFullError
from edgenode.formats import cose, document
from edgenode.formats.cose import DocumentType
from edgenode.formats.receipt import Receipt, ReceiptKind
from edgenode.testing import LOCALHOST, FakeClock, Fleet, everything, window

from .steps import assert_alive, assert_chain, assert_steps, until


async def test_unknown_config_key_names_the_nearest(fleet: Fleet) -> None:
    fleet.enrol("a", intake={"prot": 1})
    with pytest.raises(ConfigError, match=r"unknown key intake\.prot") as refused:
        await fleet.start("a")
    assert refused.value.hint == "did you mean port?"


async def test_unknown_driver_names_the_nearest(fleet: Fleet) -> None:
    fleet.enrol("a", sources={"cpu": {"driver": "hots"}})
    with pytest.raises(ConfigError, match=r"'hots' as sources\.cpu\.driver") as refused:
        await fleet.start("a")
    assert refused.value.hint == "did you mean host?"


async def test_port_in_use(fleet: Fleet) -> None:
    with socket.socket() as other:
        other.bind((LOCALHOST, 0))
        other.listen()
        port = other.getsockname()[1]
        fleet.enrol("a", intake={"port": port})
        with pytest.raises(ConfigError, match=f"cannot listen on {LOCALHOST}:{port}: the port is in use"):
            await fleet.start("a")


async def test_two_nodes_on_one_state_folder(fleet: Fleet) -> None:
    folder = fleet.enrol("a")
    await fleet.start("a")
    with pytest.raises(StorageError, match="another process runs on"):
        await Agent(folder).run()
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        await assert_alive(laptop)


async def test_state_folder_that_cannot_be_written(fleet: Fleet) -> None:
    folder = fleet.enrol("a")
    with read_only(folder), pytest.raises(StorageError, match="cannot use the state folder"):
        await fleet.start("a")


async def test_state_folder_without_a_node_document(fleet: Fleet) -> None:
    (fleet.enrol("a") / "node.cbor").unlink()
    with pytest.raises(ConfigError, match=r"cannot read .*node\.cbor"):
        await fleet.start("a")


async def test_source_that_is_dead_at_the_start_delays_no_other(fleet: Fleet) -> None:
    fleet.enrol("a", sources={"gone": {"driver": "replay", "path": "/nowhere/at/all.csv"}})
    running = await fleet.start("a")
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        await until(lambda: bool(running.agent._health["gone"].errors))
        health = (await running.agent.status())["sources"]["gone"]
        assert health["state"] == "backing off" and "/nowhere/at/all.csv: No such file" in health["last_error"]
        await assert_alive(laptop)


@pytest.mark.parametrize("database", ["ledger.db", "samples.db"])
@pytest.mark.parametrize("damage", ["head", "body"])
async def test_damaged_database_is_set_aside_and_the_node_starts(database: str, damage: str, fleet: Fleet) -> None:
    folder = fleet.enrol("a")
    fleet.publisher.sign("hello")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        await laptop.run("hello", window=window(size="1s"))
    await fleet.stop("a")
    with (folder / database).open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0 if damage == "head" else 4096)
        file.write(b"\xa5" * (4096 if damage == "head" else size - 4096))
    await fleet.start("a")
    assert len(list(folder.glob(f"{database}.damaged*"))) >= 1
    if database == "ledger.db":
        ledger = fleet.nodes["a"].agent._rooms.ledger.database
        (first,) = ledger.read(lambda db: db.execute("SELECT data FROM receipts ORDER BY seq LIMIT 1").fetchone())
        receipt = document.decode(Receipt, cose.parse(first, DocumentType.RECEIPT).payload, limit=1 << 20, limit_name="")
        assert (receipt.kind, receipt.seq, receipt.notice and receipt.notice.code) == (ReceiptKind.GAP, 0, "ledger-damaged")
    async with fleet.laptop() as laptop:
        await assert_alive(laptop)


async def test_node_whose_own_document_has_expired_starts_all_the_same(tmp_path: Path) -> None:
    clock = FakeClock()
    fleet = Fleet(tmp_path, clock)
    fleet.enrol("a")
    clock.advance(400 * 24 * 3600)
    await fleet.start("a")
    assert fleet.nodes["a"].agent.card()["name"] == "a"
    await fleet.stop("a")


async def test_module_that_no_manifest_names_is_not_kept(fleet: Fleet) -> None:
    fleet.enrol("a")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        with pytest.raises(RefusedError, match="no manifest here names"):
            await laptop.fleet.nodes[0].api.put_module(b"\0asm\1\0\0\0 anything at all")


async def test_disk_full_while_a_receipt_is_written_loses_nothing(fleet: Fleet) -> None:
    fleet.enrol("a")
    running = await fleet.start("a")
    fleet.publisher.sign("hello")
    ledger = running.agent._rooms.ledger.database
    async with fleet.laptop() as laptop:
        await assert_alive(laptop)
        pages = ledger.read(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
        ledger.write(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 8}").fetchall())
        submission = await laptop.submit("hello", window=window(size="1s"))
        await until(lambda: "cannot grow" in running.agent._dispatch.last_error)
        assert (await running.agent.status())["jobs_open"] == 1
        with pytest.raises(StorageFullError):
            await laptop.submit("hello", params="x" * 32_000)
        ledger.write(lambda db: db.execute("PRAGMA max_page_count = 1000000").fetchall())
        results = await everything(submission)
        assert_steps(results, 60)
        assert_chain(results, first=1)
        await assert_alive(laptop)


@pytest.mark.root
async def test_full_state_folder_loses_nothing(fleet: Fleet) -> None:
    folder = fleet.enrol("a")
    fleet.publisher.sign("hello")
    with tmpfs(folder, "8m"):
        await fleet.start("a")
        async with fleet.laptop() as laptop:
            await assert_alive(laptop)
            fill(folder / "filler")
            submission = None
            with contextlib.suppress(StorageError):  # where even the job finds no room, it was not accepted
                submission = await laptop.submit("hello", window=window(size="1s"))
            agent = fleet.nodes["a"].agent
            if submission is not None:
                await until(lambda: bool(agent._dispatch.last_error))
            (folder / "filler").unlink()
            if submission is not None:
                assert_steps(await everything(submission), 60)
            await assert_alive(laptop)
        await fleet.stop("a")


async def test_trimming_on_a_full_disk_does_not_end_the_node(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgenode.agent.TRIM_SECONDS", 0.01)
    fleet.enrol("a")
    running = await fleet.start("a")
    tried: list[int] = []

    def full(keep: int, now: int) -> int:
        tried.append(keep)
        raise StorageFullError("ledger.db cannot grow")

    monkeypatch.setattr(running.agent._rooms.ledger, "trim", full)
    fleet.publisher.sign("hello")
    await until(lambda: len(tried) > 2 or running.task.done())
    async with fleet.laptop() as laptop:
        await assert_alive(laptop)


async def test_damaged_job_in_the_ledger_fails_alone(fleet: Fleet) -> None:
    folder = fleet.enrol("a")
    fleet.publisher.sign("slow")
    fleet.publisher.sign("hello")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        damaged = await laptop.submit("slow", window=window(size="20s"))
        whole = await laptop.submit("slow")
    await fleet.stop("a")
    with contextlib.closing(sqlite3.connect(folder / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE jobs SET data = zeroblob(100), digest = zeroblob(32) WHERE id = ?", (damaged.job.id,))
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        items = [item async for item in laptop.fleet.follow(laptop.fleet.nodes[0], damaged.job.id, 20)]
        assert getattr(items[-1], "state", "") == "failed"
        assert len([item async for item in laptop.fleet.follow(laptop.fleet.nodes[0], whole.job.id, 20)]) == 2
        assert len(await laptop.fleet.nodes[0].api.jobs()) == 1
        await assert_alive(laptop)


async def test_module_file_that_was_deleted_or_changed_is_asked_for_again(fleet: Fleet) -> None:
    folder = fleet.enrol("a")
    fleet.publisher.sign("hello")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        await assert_alive(laptop)
    await fleet.stop("a")
    (module,) = (folder / "modules").iterdir()
    (folder / "modules" / "lost+found").mkdir()  # as a file system of its own has
    await fleet.start("a")
    library = fleet.nodes["a"].agent._rooms.library
    async with fleet.laptop() as laptop:
        module.unlink()
        await assert_alive(laptop)
        library._loaded._values.clear()
        module.write_bytes(b"changed")
        with contextlib.suppress(Exception):
            await assert_alive(laptop)
        await assert_alive(laptop)


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Root may write where the mode forbids it, so for root the folder becomes a mount of its own."""
    if os.geteuid():
        folder.chmod(0o500)
        yield
        folder.chmod(0o700)
        return
    with tmpfs(folder, "8m"):
        mount("-o", "remount,ro", str(folder))
        yield


@contextlib.contextmanager
def tmpfs(folder: Path, size: str) -> Iterator[None]:
    """Put a small disk in the place of a folder, with what is in it."""
    kept = folder.with_name(f"{folder.name}-kept")
    shutil.copytree(folder, kept)
    mount("-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(folder))
    try:
        shutil.copytree(kept, folder, dirs_exist_ok=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def mount(*arguments: str) -> None:
    if shutil.which("mount") is None:
        pytest.skip("needs mount (package mount)")
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"mounts are not allowed here: {done.stderr.strip()}")


def fill(path: Path) -> None:
    """Take all the room that is left."""
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        for size in (65536, 512):
            with contextlib.suppress(OSError):
                while True:
                    file.write(bytes(size))
