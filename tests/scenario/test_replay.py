"""Receipts run again: from the node that signed them, from files, and from a bundle on a machine that has nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from edgenode.cli import exits
from edgenode.formats import document
from edgenode.formats.bundle import LIMIT, Bundle
from edgenode.records import Capabilities, digest
from edgenode.testing import Fleet, everything, window
from edgenode.transport.wire import decode_header
from edgenode_sdk import saved
from edgenode_sdk.result import Result

PRIVATE = Capabilities(channels=("*",), summary=64)


async def edgenode(*arguments: object, home: Path, alone: bool = False) -> tuple[int, str, str]:
    """One command line: code, stdout, stderr. ``alone``: with an empty environment and, for root, no network at all."""
    prefix = ["unshare", "--net"] if alone and os.geteuid() == 0 else []
    environment = {"PYTHONPATH": os.pathsep.join(sys.path)} if alone else dict(os.environ)
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *(sys.executable, "-m", "edgenode", *map(str, arguments)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=environment | {"EDGENODE_HOME": str(home)},
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert b"Traceback" not in err, err.decode()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


async def replayed(*arguments: object, home: Path, alone: bool = False) -> tuple[int, list[dict[str, Any]]]:
    """Exit code and verdicts of 'receipt replay --json'."""
    code, out, _ = await edgenode("receipt", "replay", "--json", *arguments, home=home, alone=alone)
    return code, [json.loads(line) for line in out.splitlines()]


async def ran(fleet: Fleet, folder: Path, module: str, **job: Any) -> tuple[list[Result], list[Path], bytes]:
    """Run a job at the nodes that are up: its results, their files, and its document."""
    async with fleet.laptop() as laptop:
        submission = await laptop.submit(module, **job)
        results = await everything(submission)
        told = await laptop.fleet.nodes[0].api.job(submission.job.id)
    return results, [saved.save(result, folder) for result in results], decode_header(told["document"])


@pytest.fixture
def empty(tmp_path: Path) -> Path:
    """The home of somebody who has nothing."""
    (tmp_path / "nobody").mkdir()
    return tmp_path / "nobody"


async def test_a_bundle_replays_with_an_empty_home_and_no_network(node: Fleet, tmp_path: Path, empty: Path) -> None:
    node.publisher.sign_builtin("threshold-alarm")
    params = {"high": 50, "low": 20}
    results, files, _ = await ran(node, tmp_path, "threshold-alarm", window=window(size="20s"), params=params)
    target, address, home = tmp_path / "step.bundle", node.nodes["a"].address, node.home.folder
    code, out, err = await edgenode("receipt", "bundle", files[-1], "-o", target, "--node", address, "--json", home=home)
    assert code == 0, out + err
    assert json.loads(out)["receipt"] == results[-1].verified.digest.hex()
    await node.stop("a")

    code, out, err = await edgenode("receipt", "replay", target, home=empty, alone=True)
    root = node.home.trust().trust.roots.keys[0].hex()
    assert (code, out) == (0, f"{target}: match\n")
    assert "warning" in err and root in err and "--trust FILE" in err
    trust = ("--trust", node.home.trust_path)
    code, out, err = await edgenode("receipt", "replay", target, *trust, home=empty, alone=True)
    assert (code, out, err) == (0, f"{target}: match\n", "")
    code, out, _ = await edgenode("receipt", "verify", target, *trust, home=empty)
    assert code == 0 and "signed by a" in out


async def test_receipts_and_bundles_are_replayed_together_and_each_is_told(node: Fleet, tmp_path: Path) -> None:
    node.publisher.sign_builtin("statistics")
    _, files, _ = await ran(node, tmp_path, "statistics", window=window(size="20s"))
    assert len(files) == 3
    target, reach, home = tmp_path / "step.bundle", ("--node", node.nodes["a"].address), node.home.folder
    assert (await edgenode("receipt", "bundle", files[0], "-o", target, *reach, home=home))[0] == 0
    damaged, lied = tmp_path / "damaged.bundle", tmp_path / "lied.bundle"
    parts = document.decode(Bundle, target.read_bytes(), limit=LIMIT, limit_name="")
    data = bytearray(target.read_bytes())
    data[data.index(parts.snapshot) + 40] ^= 1
    damaged.write_bytes(data)
    code, told = await replayed(*files, target, damaged, lied, *reach, home=home)
    assert code == exits.REFUSED
    assert [one["verdict"] for one in told] == ["match", "match", "match", "match", None, None]
    assert [one["file"] for one in told] == [str(path) for path in (*files, target, damaged, lied)]
    assert told[4]["code"] == "digest" and "the bundle's snapshot" in told[4]["reason"]
    assert told[5]["code"] == "config"


async def test_given_files_need_neither_node_nor_keys(node: Fleet, tmp_path: Path, empty: Path) -> None:
    wasm, manifest = node.publisher.sign_builtin("statistics")
    results, files, job = await ran(node, tmp_path, "statistics", params={"quantiles": [0.5]})
    core = results[0].core
    assert core is not None
    frame = (tmp_path / "a" / "snapshots" / core.snapshot.hex()).read_bytes()
    await node.stop("a")
    given: list[object] = ["--trust", node.home.trust_path]
    for option, data in (("module", wasm), ("snapshot", frame), ("job", job), ("manifest", manifest)):
        (tmp_path / option).write_bytes(data)
        given += [f"--{option}", tmp_path / option]
    code, told = await replayed(files[0], *given, home=empty, alone=True)
    assert (code, told[0]["verdict"], told[0]["differences"]) == (0, "match", [])
    (tmp_path / "snapshot").write_bytes(frame[:-8] + bytes(8))
    code, told = await replayed(files[0], *given, home=empty, alone=True)
    assert (code, told[0]["code"]) == (exits.REFUSED, "digest") and "snapshot" in told[0]["reason"]
    target = tmp_path / "step.bundle"
    (tmp_path / "snapshot").write_bytes(frame)
    assert (await edgenode("receipt", "bundle", files[0], "-o", target, *given, home=empty, alone=True))[0] == 0
    assert (await replayed(target, home=empty, alone=True))[0] == 0


async def test_what_was_trimmed_for_room_is_not_replayable_and_the_rest_is(fleet: Fleet, tmp_path: Path) -> None:
    """Room for two snapshots of 20 s, each 200 samples of 16 bytes, but not for three."""
    fleet.enrol("a", ledger={"blob_bytes": 8_000})
    await fleet.start("a")
    fleet.publisher.sign("hello")
    results, files, _ = await ran(fleet, tmp_path, "hello", window=window(size="20s"))
    assert [result.ok for result in results] == [True] * 3
    reach = ("--node", fleet.nodes["a"].address)
    code, told = await replayed(*files, *reach, home=fleet.home.folder)
    assert code == exits.FAILED
    assert [one["verdict"] for one in told] == ["not replayable", "match", "match"]
    assert "snapshot" in told[0]["reason"] and "ledger.blob_bytes" in told[0]["reason"]
    code, _, err = await edgenode("receipt", "bundle", files[0], "-o", tmp_path / "none", *reach, home=fleet.home.folder)
    assert code == exits.FAILED and "snapshot" in err


async def test_a_snapshot_that_is_not_shared_stays_at_its_node(node: Fleet, tmp_path: Path) -> None:
    node.publisher.sign("hello", capabilities=PRIVATE)
    results, files, _ = await ran(node, tmp_path, "hello")
    assert results[0].ok and not list((tmp_path / "a" / "snapshots").iterdir())
    reach, home, target = ("--node", node.nodes["a"].address), node.home.folder, tmp_path / "step.bundle"
    code, told = await replayed(*files, *reach, home=home)
    assert (code, told[0]["verdict"]) == (exits.FAILED, "not replayable") and "share_snapshot" in told[0]["reason"]
    code, out, _ = await edgenode("receipt", "bundle", *files, "-o", target, *reach, "--json", home=home)
    assert (code, "does not let snapshots leave" in out) == (exits.REFUSED, True)
    assert not target.exists()


async def test_state_goes_from_step_to_step_and_each_step_replays_alone(node: Fleet, tmp_path: Path) -> None:
    node.publisher.sign_builtin("threshold-alarm")
    params = {"high": 50, "low": 20}
    results, files, _ = await ran(node, tmp_path, "threshold-alarm", window=window(size="20s"), params=params)
    assert all(result.core is not None and result.core.outcome.ok for result in results)
    assert any(result.core is not None and result.core.state_before != digest(b"") for result in results)
    code, told = await replayed(*reversed(files), "--node", node.nodes["a"].address, home=node.home.folder)
    assert (code, {one["verdict"] for one in told}) == (0, {"match"})


async def test_without_a_node_in_reach_the_missing_part_cannot_be_asked_for(node: Fleet, tmp_path: Path) -> None:
    node.publisher.sign("hello")
    _, files, _ = await ran(node, tmp_path, "hello")
    address = node.nodes["a"].address
    await node.stop("a")
    code, told = await replayed(*files, "--node", address, home=node.home.folder)
    assert (code, told[0]["code"]) == (exits.UNREACHABLE, "unreachable")
