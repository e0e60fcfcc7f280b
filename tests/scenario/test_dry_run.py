"""A job that is not submitted: judged, run over a recording, and held against what a real node measured of itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgenode.cli import exits
from edgenode.testing import Fleet, recording

from .test_cli import Done, here

JOB: dict[str, Any] = {"module": "statistics", "channels": ["value"], "window": {"last": "60s", "size": "10s"}}


@pytest.fixture
async def measured(node: Fleet) -> Fleet:
    """A node that has measured itself, and a laptop that has signed a module."""
    node.publisher.sign_builtin("statistics")
    await node.nodes["a"].agent.measured.wait()
    return node


async def edgenode(fleet: Fleet, *arguments: object) -> Done:
    return await asyncio.to_thread(lambda: here(*arguments, home=fleet.home.folder))


async def dry_run(fleet: Fleet, *options: object, node: str = "", **changes: Any) -> Done:
    """The command over a job; without ``node`` at the node that runs."""
    job = fleet.folder / "job.yaml"
    job.write_text(json.dumps(JOB | changes))
    at = node or fleet.nodes["a"].address
    return await edgenode(fleet, "job", "submit", job, "--dry-run", "--node", at, *options)


async def test_the_status_has_the_reading_that_the_node_signed(measured: Fleet) -> None:
    address = measured.nodes["a"].address
    told = (await edgenode(measured, "node", "status", address, "--json")).json["a"]
    reading = told["reading"]
    assert reading["node"] == told["key"] and reading["engine"] == told["engine"] and reading["workers"] == 1
    assert reading["fuel_per_second"] > 0 and reading["memory"] > 0
    assert "signed" in (await edgenode(measured, "node", "status", address)).out


async def test_a_job_is_run_over_a_recording_and_held_against_the_node(measured: Fleet) -> None:
    done = await dry_run(measured, "--input", recording(measured.folder), "--json")
    assert done.code == exits.OK, done.out + done.err
    told = done.json
    assert told["job"] == {"name": "", "module": "statistics", "version": "1.0.0", "steps": told["job"]["steps"]}
    assert told["job"]["steps"] in (5, 6)  # whole windows of 10 s in the last 60 s
    assert [step["samples"] for step in told["steps"]] == [100] * 6 and told["windows"] == 6
    assert {step["outcome"]["kind"] for step in told["steps"]} == {"ok"}
    assert 0 < told["fuel"]["median"] <= told["fuel"]["worst"] < told["limits"]["fuel"]
    [node] = told["nodes"]
    assert node["node"] == "a" and node["keeps_up"] and 0 < node["share"] < 1
    assert node["step_seconds"] == told["fuel"]["worst"] / node["reading"]["fuel_per_second"]
    shown = await dry_run(measured, "--input", recording(measured.folder))
    assert shown.code == exits.OK and "of the limit" in shown.out and "OF A WORKER" in shown.out
    assert await measured.nodes["a"].agent.jobs() == []  # nothing was submitted


async def test_without_a_recording_the_limit_is_the_worst_case(measured: Fleet) -> None:
    done = await dry_run(measured, "--json", limits={"fuel": 1_000_000})
    assert done.code == exits.OK, done.out
    assert done.json["fuel"] == {"median": None, "worst": 1_000_000, "share": 1.0, "measured": False}
    assert done.json["steps"] == [] and done.json["nodes"][0]["job_seconds"] > 0
    assert "--input" in (await dry_run(measured)).out


async def test_without_a_node_in_reach_the_fuel_alone_is_told(measured: Fleet) -> None:
    done = await dry_run(measured, "--input", recording(measured.folder), "--json", node="127.0.0.1:1")
    assert done.code == exits.OK and done.json["nodes"] == [] and done.json["unmet"]
    assert done.json["fuel"]["measured"]


async def test_nodes_that_the_selector_does_not_mean_are_left_out(measured: Fleet) -> None:
    done = await dry_run(measured, nodes={"labels": {"line": "3"}})
    assert done.code == exits.OK and "means no node in reach" in done.out


async def test_a_node_that_cannot_keep_up_is_flagged(measured: Fleet) -> None:
    done = await dry_run(measured, window={"last": "60s", "size": "1ms"})  # at a limit of 10^9 fuel a step
    assert done.code == exits.FAILED and "cannot keep up" in done.out


async def test_a_step_that_fails_is_told_with_its_window(measured: Fleet) -> None:
    done = await dry_run(measured, "--input", recording(measured.folder), "--json", limits={"fuel": 1000})
    assert done.code == exits.FAILED
    assert {step["outcome"]["kind"] for step in done.json["steps"]} == {"fuel"}
    shown = await dry_run(measured, "--input", recording(measured.folder), limits={"fuel": 1000})
    assert "2026-" in shown.out.partition("failed")[2]


async def test_the_state_goes_from_step_to_step(measured: Fleet) -> None:
    measured.publisher.sign_builtin("threshold-alarm")
    done = await dry_run(
        measured, "--input", recording(measured.folder), "--json", module="threshold-alarm", params={"high": 90, "low": 10}
    )
    assert done.code == exits.OK, done.out
    states = [step["state"] for step in done.json["steps"]]
    assert len(states) == 6 and min(states) > 0


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"limits": {"fuel": 2_000_000_000}}, exits.REFUSED),  # above the manifest's
        ({"type": "daemon"}, exits.REFUSED),
        ({"channels": ["nothing"]}, exits.REFUSED),
        ({"window": {"last": "1s", "size": "1h"}}, exits.REFUSED),
        ({"window": {"start": "2026-01-01T00:00:00Z", "end": "2126-01-01T00:00:00Z"}}, exits.REFUSED),
        ({"module": "unheard-of"}, exits.USAGE),
        ({"priority": 1000}, exits.USAGE),
    ],
)
async def test_what_a_node_would_refuse_is_refused(measured: Fleet, changes: dict[str, Any], code: int) -> None:
    done = await dry_run(measured, "--input", recording(measured.folder), "--json", **changes)
    assert done.code == code, done.out
    assert done.json["detail"]


def _another_rate(document: bytes) -> bytes:
    at = len(document) // 2
    return document[:at] + bytes([document[at] ^ 1]) + document[at + 1 :]


@pytest.mark.parametrize(("change", "reason"), [(_another_rate, ""), (lambda document: b"", "not measured yet")])
async def test_a_reading_that_cannot_be_believed_is_not_used(measured: Fleet, change: Callable[[bytes], bytes], reason: str) -> None:
    agent = measured.nodes["a"].agent
    agent._reading, agent._unmeasured = change(agent._reading), reason
    [node] = (await dry_run(measured, "--json")).json["nodes"]
    assert set(node) == {"node", "error"} and reason in node["error"]
    shown = await edgenode(measured, "node", "status", measured.nodes["a"].address, "--json")
    assert shown.json["a"]["reading"] == {"error": node["error"]}


async def test_an_input_is_for_a_dry_run_alone(tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(json.dumps(JOB))
    assert here("job", "submit", job, "--input", recording(tmp_path)).code == exits.USAGE


async def test_a_node_that_cannot_measure_says_why_and_runs_jobs(fleet: Fleet) -> None:
    fleet.enrol("a", sandbox={"fuel": 20_000_000})
    await fleet.start("a")
    agent = fleet.nodes["a"].agent
    await agent.measured.wait()
    assert "limit sandbox.fuel" in (await edgenode(fleet, "node", "status", fleet.nodes["a"].address)).out
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        [result] = await laptop.run("hello", limits={"fuel": 1_000_000})
    assert result.ok
