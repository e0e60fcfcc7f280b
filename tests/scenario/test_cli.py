"""The command line by hand, as a new user goes: a fleet, a hub, a node, a module, a job, and what came of it."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from edgenode.cli import root
from edgenode.testing import GUESTS

LOCALHOST = "127.0.0.1"
JOB = """\
name: by hand
module: statistics
type: ops
channels: ["host/*"]
window: {last: 5s}
params: {quantiles: [0.5]}
"""


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def edgenode(*arguments: object, home: Path | None = None) -> Done:
    """One command line, as a process."""
    environment = os.environ | {"EDGENODE_HOME": str(home or "/nonexistent")}
    done = subprocess.run(
        [sys.executable, "-m", "edgenode", *map(str, arguments)], capture_output=True, text=True, timeout=60, env=environment
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "Unclosed" not in done.stderr, done.stderr
    return Done(done.returncode, done.stdout, done.stderr)


def here(*arguments: object, home: Path | None = None) -> Done:
    """The same in this process: for what needs no process of its own to be believed."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setenv("EDGENODE_HOME", str(home or "/nonexistent"))
        code = root.run([*map(str, arguments)])
    return Done(code, out.getvalue(), err.getvalue())


@contextmanager
def running(*arguments: object) -> Iterator[dict[str, Any]]:
    """A run command, from its ready line to an orderly end."""
    with subprocess.Popen([sys.executable, "-m", "edgenode", *map(str, arguments)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            ready: dict[str, Any] = json.loads(process.stdout.readline())
            yield ready
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(15) == 0


@dataclass(frozen=True)
class Site:
    """One hub and one node that run, and the laptop's folder."""

    folder: Path
    home: Path
    node: str
    node_key: str
    hub: str
    hub_key: str

    def __call__(self, *arguments: object) -> Done:
        return edgenode(*arguments, home=self.home)

    def here(self, *arguments: object) -> Done:
        return here(*arguments, home=self.home)

    def submit(self, text: str = JOB, *options: object) -> Done:
        job = self.folder / "job.yaml"
        job.write_text(text)
        return self.here("job", "submit", job, "--node", self.node, "--json", *options)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    home, hub_state, node_state = folder / "laptop", folder / "hub", folder / "node"
    with ExitStack() as stack:
        assert edgenode("fleet", "init", home=home).code == 0
        made = edgenode("hub", "init", "--state", hub_state, "--name", "hub", "--host", LOCALHOST, "--port", 0, "--json")
        hub_key = made.json["key"]
        assert edgenode("fleet", "grant", "hub", hub_key, "--name", "hub", home=home).code == 0
        shutil.copy(home / "trust.cbor", hub_state)
        hub = stack.enter_context(running("hub", "run", "--state", hub_state))
        hub_address = f"{LOCALHOST}:{hub['port']}"

        made = edgenode(
            *("node", "init", "--state", node_state, "--name", "press-7", "--trust", home / "trust.cbor"),
            *("--interval", 100, "--host", LOCALHOST, "--port", 0, "--interface", LOCALHOST),
            *("--hub", hub_address, "--hub-key", hub_key),
        )
        assert made.code == 0, made.err
        key = re.findall(r"edgenode fleet enrol ([0-9a-f]{64}) --name press-7", made.out)[0]
        enrolled = edgenode("fleet", "enrol", key, "--name", "press-7", "--label", "line=3", "-o", node_state / "node.cbor", home=home)
        assert enrolled.code == 0, enrolled.err
        node = stack.enter_context(running("node", "run", "--state", node_state))
        assert node["key"] == key
        assert edgenode("module", "sign", "statistics", home=home).code == 0
        yield Site(folder, home, f"{LOCALHOST}:{node['port']}", key, hub_address, hub_key)


@pytest.fixture(scope="module")
def job(site: Site) -> dict[str, Any]:
    """What 'job submit --json' told of a job that ran."""
    done = site.submit()
    assert done.code == 0, done.err + done.out
    told: dict[str, Any] = done.json
    return told


@pytest.fixture(scope="module")
def receipt(site: Site, job: dict[str, Any]) -> Path:
    """The file of its receipt."""
    folder = site.folder / "receipts"
    done = site("job", "results", job["job"], "-o", folder, "--node", site.node)
    assert done.code == 0, done.err
    return next(folder.glob("press-7-*.receipt"))


def test_a_job_ends_in_a_verified_receipt(site: Site, job: dict[str, Any]) -> None:
    [result] = job["receipts"]
    assert result["ok"] and result["node"] == {"name": "press-7", "key": site.node_key}
    assert result["summary"]["host/cpu"]["count"] > 0
    assert [execution["state"] for execution in job["executions"]] == ["done"]


def test_nodes_are_found_by_mdns(site: Site) -> None:
    [node] = site.here("node", "list", "--interface", LOCALHOST, "--patience", 3, "--json").json["nodes"]
    assert node == {"name": "press-7", "key": site.node_key, "address": site.node, "labels": {"line": "3"}}
    assert "line=3" in site.here("node", "list", "--interface", LOCALHOST, "--patience", 3).out


def test_status_of_node_and_hub(site: Site, job: dict[str, Any]) -> None:
    told = site.here("node", "status", site.node, "--json").json["press-7"]
    assert told["key"] == site.node_key and told["sources"]["host"]["state"] == "running"
    assert "press-7" in site.here("node", "status", "--discover", "--interface", LOCALHOST).out
    assert site.here("hub", "status", site.hub, "--key", site.hub_key, "--json").json["nodes"][0]["name"] == "press-7"
    assert "press-7" in site.here("hub", "status", site.hub).out
    assert site("hub", "status", site.hub, "--key", site.node_key).code == 4


def test_jobs_are_listed_and_described(site: Site, job: dict[str, Any]) -> None:
    listed = site.here("job", "list", "--node", site.node, "--json").json["jobs"]
    assert job["job"] in [one["job"] for one in listed]
    assert job["job"] in site.here("job", "list", "--node", site.node).out
    described = site.here("job", "describe", job["job"], "--node", site.node, "--json").json
    assert described["job"]["params"] == {"quantiles": [0.5]}
    assert described["nodes"]["press-7"]["state"] == "done"
    assert "by hand" in site.here("job", "describe", job["job"], "--node", site.node).out
    assert site.here("job", "describe", "00" * 16, "--node", site.node).code == 1
    assert site.here("job", "describe", "0", "--node", site.node).code == 2


def test_results_again(site: Site, job: dict[str, Any]) -> None:
    told = site.here("job", "results", job["job"], "--node", site.node, "--json").json
    assert [one["digest"] for one in told["receipts"]] == [one["digest"] for one in job["receipts"]]


def test_a_job_that_is_not_waited_for_is_stopped(site: Site) -> None:
    done = site.submit(JOB, "--no-wait")
    assert done.code == 0
    stopped = site.here("job", "stop", done.json["job"], "--node", site.node, "--json")
    assert stopped.code == 0, stopped.err
    assert stopped.json["nodes"]["press-7"]["state"] in ("stopped", "done")
    again = site.here("job", "describe", done.json["job"], "--node", site.node, "--json").json
    assert again["job"]["generation"] == 2 and again["job"]["desired"] == "stop"


def test_why_no_node_took_it(site: Site) -> None:
    done = site.submit(JOB + "nodes: {labels: {line: '4'}}\n")
    assert done.code == 4
    assert done.json["title"] == "not-selected"
    done = site.submit(JOB.replace('"host/*"', "motor"))
    assert (done.code, done.json["title"]) == (4, "no-such-channel")


def test_another_outcome_than_ok_is_told_and_exits_with_1(site: Site) -> None:
    done = site.submit(JOB + "limits: {fuel: 1000}\n")
    assert done.code == 1
    assert done.json["receipts"][0]["core"]["outcome"]["kind"] == "fuel"


def test_a_receipt_is_shown_verified_and_replayed(site: Site, receipt: Path) -> None:
    assert "press-7" in site.here("receipt", "show", receipt).out
    assert site.here("receipt", "show", receipt, "--json").json["core"]["outcome"]["kind"] == "ok"
    assert site.here("receipt", "verify", receipt).code == 0
    assert here("receipt", "verify", receipt, "--trust", site.home / "trust.cbor").code == 0
    replayed = site.here("receipt", "replay", receipt, "--node", site.node, "--json")
    assert (replayed.code, replayed.json["verdict"], replayed.json["differences"]) == (0, "match", [])
    assert site.here("receipt", "replay", receipt, "--interface", LOCALHOST).out == f"{receipt}: match\n"


def test_replay_without_the_manifest_allows_what_any_could(site: Site, receipt: Path, tmp_path: Path) -> None:
    home = tmp_path / "laptop"
    shutil.copytree(site.home, home, ignore=shutil.ignore_patterns("modules"))
    assert edgenode("receipt", "replay", receipt, "--node", site.node, home=home).out == f"{receipt}: match\n"


def test_what_the_node_no_longer_has_is_not_replayable(site: Site, receipt: Path, tmp_path: Path) -> None:
    snapshots, aside = site.folder / "node" / "snapshots", tmp_path / "aside"
    snapshots.rename(aside)
    try:
        done = site("receipt", "replay", receipt, "--node", site.node, "--json")
    finally:
        aside.rename(snapshots)
    assert (done.code, done.json["verdict"]) == (1, "not replayable")
    assert "snapshot" in done.json["reason"]


def test_a_tampered_receipt_is_refused(site: Site, receipt: Path, tmp_path: Path) -> None:
    good = receipt.read_bytes()
    changed = tmp_path / "changed.receipt"
    for at in (len(good) // 3, len(good) // 2, len(good) - 1):
        changed.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        assert site.here("receipt", "verify", changed).code == 4
    done = site.here("receipt", "verify", receipt, changed, "--json")
    assert (done.code, [one["verified"] for one in done.json]) == (4, [True, False])
    assert site.here("receipt", "show", changed).code == 4
    changed.write_bytes(good[:-10])
    assert site.here("receipt", "verify", changed).code == 4
    assert site.here("receipt", "verify", tmp_path / "nothing").code == 2


def test_a_receipt_of_another_fleet_is_refused(receipt: Path, tmp_path: Path) -> None:
    assert here("fleet", "init", home=tmp_path / "other").code == 0
    done = here("receipt", "verify", receipt, home=tmp_path / "other")
    assert done.code == 4 and "NOT TRUSTED" in done.out


def test_sources_of_a_node_that_runs(site: Site, job: dict[str, Any]) -> None:
    state = site.folder / "node"
    told = site.here("source", "list", "--state", state, "--json").json
    assert told["sources"] == {"host": {"driver": "host", "interval_ms": 100}}
    assert "host" in site.here("source", "list", "--state", state).out
    done = site.here("source", "read", "host", "--state", state, "-n", 2, "--json")
    assert done.code == 0
    readings = [json.loads(line) for line in done.out.splitlines()]
    assert len(readings) == 2 and "host/memory" in readings[0]["values"]
    assert site.here("source", "read", "hots", "--state", state).code == 2


def test_a_module_is_inspected(site: Site) -> None:
    told = site.here("module", "inspect", "statistics", "--json").json
    assert told["trusted"] and told["imports"] == [] and "func edgenode_step(i32, i32) -> i64" in told["exports"]
    assert told["manifest"]["name"] == "statistics" and told["manifest"]["module"] == told["module"]
    assert "trusted" in site.here("module", "inspect", site.home / "modules" / "statistics.manifest").out
    bare = here("module", "inspect", "threshold-alarm", "--json").json
    assert (bare["trusted"], bare["reason"]) == (False, "unsigned")


def test_what_is_no_module_is_not_inspected(tmp_path: Path) -> None:
    path = tmp_path / "a.wasm"
    for data in (b"", b"#!/bin/sh", b"\0asm\1\0\0\0\1\xff\xff\xff\xff\x0f"):
        path.write_bytes(data)
        assert here("module", "inspect", path).code == 4
    assert here("module", "sign", "no-such").code == 2


def test_keys(tmp_path: Path) -> None:
    path = tmp_path / "a.pem"
    made = here("key", "new", path)
    assert re.fullmatch(r"[0-9a-f]{64}\n", made.out)
    assert path.stat().st_mode & 0o777 == 0o600
    assert here("key", "show", path).out == made.out
    assert here("key", "show", path, "--json").json["key"] == made.out.strip()
    assert here("key", "new", path).code == 5
    path.chmod(0o644)
    done = here("key", "show", path)
    assert done.code == 2 and "hint: chmod 600" in done.err


def test_a_fleet_is_shown(site: Site) -> None:
    told = site.here("fleet", "show", "--json").json
    assert {grant["role"] for grant in told["grants"]} == {"registrar", "publisher", "submitter", "hub"}
    assert site.hub_key in site.here("fleet", "show").out
    assert site.here("fleet", "init").code == 5


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [("hello", "ok", 0), ("trap", "trap", 1), ("endless", "fuel", 1), ("bomb", "trap", 1), ("overflow", "stack", 1), ("huge", "memory", 1)],
)
def test_exec_tells_the_outcome(name: str, kind: str, code: int, tmp_path: Path) -> None:
    path = tmp_path / "guest.wasm"
    path.write_bytes(GUESTS[name]())
    done = here("exec", path, "--json", "--fuel", 10_000_000)
    assert (done.code, done.json["outcome"]["kind"]) == (code, kind)


def test_exec_refuses_what_the_sandbox_does_not_run(tmp_path: Path) -> None:
    path = tmp_path / "guest.wasm"
    path.write_bytes(GUESTS["imports"]())
    assert here("exec", path).code == 4
    path.write_bytes(b"not wasm")
    assert here("exec", path).code == 4
    assert here("exec", tmp_path / "nothing.wasm").code == 2


@pytest.mark.parametrize(
    "table",
    [
        "time,channel,value,unit\n0,oven,61.0,Cel\n1,oven,61.5,Cel\n2,oven,62.0,Cel\n",
        "time,oven [Cel],empty\n1970-01-01T00:00:00Z,61,\n1970-01-01T00:00:01Z,61.5,\n1970-01-01T00:00:02Z,62,\n",
    ],
)
def test_exec_over_a_recording(table: str, tmp_path: Path) -> None:
    recording = tmp_path / "oven.csv"
    recording.write_text(table)
    wasm = Path(__file__).parents[2] / "wasm-modules" / "statistics" / "statistics.wasm"
    done = here("exec", wasm, "--input", recording, "--params", '{"quantiles": [0.5]}', "--json")
    assert done.code == 0, done.err + done.out
    assert done.json["summary"] == {"oven": {"min": 61.0, "max": 62.0, "mean": 61.5, "count": 3, "stddev": 0.5, "quantiles": [[0.5, 61.5]]}}
    assert here("exec", wasm, "--params", "{").code == 2
    recording.write_text("time,channel,value\n0,oven,hot\n")
    done = here("exec", wasm, "--input", recording)
    assert done.code == 2 and "line 2" in done.err


def test_an_unknown_key_names_the_nearest(tmp_path: Path) -> None:
    state = tmp_path / "node"
    assert edgenode("node", "init", "--state", state, "--name", "a").code == 0
    with (state / "edgenode.toml").open("a") as file:
        file.write("[sandbx]\nworkers = 2\n")
    done = edgenode("node", "run", "--state", state)
    assert done.code == 2
    assert "unknown key sandbx" in done.err and "did you mean sandbox?" in done.err


def test_a_port_in_use_is_told(site: Site, tmp_path: Path) -> None:
    state = tmp_path / "second"
    port = site.node.rpartition(":")[2]
    made = edgenode(
        *("node", "init", "--state", state, "--name", "second", "--trust", site.home / "trust.cbor"),
        *("--host", LOCALHOST, "--port", port, "--no-mdns", "--json"),
    )
    assert site("fleet", "enrol", made.json["key"], "--name", "second", "-o", state / "node.cbor").code == 0
    done = edgenode("node", "run", "--state", state)
    assert done.code == 2 and "the port is in use" in done.err


def test_a_state_folder_in_use_is_told(site: Site) -> None:
    done = edgenode("node", "run", "--state", site.folder / "node")
    assert done.code == 5 and "another process runs on" in done.err


def test_a_state_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = here("node", "init", "--state", tmp_path / "file" / "state", "--name", "a", "--json")
    assert done.code == 5
    assert done.json["title"] == "storage" and done.json["hint"]


def test_set_up_twice_keeps_the_first(tmp_path: Path) -> None:
    first = here("node", "init", "--state", tmp_path, "--name", "a", "--json")
    assert here("node", "init", "--state", tmp_path, "--name", "b").code == 2
    assert here("key", "show", tmp_path / "key.pem").out.strip() == first.json["key"]
    assert here("node", "init", "--state", tmp_path / "c", "--name", "Not A Name").code == 2
    for source in ("hots", "replay"):  # one that is none, and one that needs a path
        assert here("node", "init", "--state", tmp_path / "c", "--name", "c", "--source", source).code == 2
    assert not (tmp_path / "c").exists()


@pytest.mark.parametrize("text", ["module: [", "- a\n- b\n", JOB + "modul: x\n", JOB.replace("5s", "5 parsecs")])
def test_a_bad_job_file_is_told(text: str, site: Site) -> None:
    done = site.submit(text)
    assert done.code == 2
    assert done.json["hint"] or "line" in done.json["detail"]


def test_nobody_in_reach(site: Site) -> None:
    assert site.here("job", "list", "--node", f"{LOCALHOST}:1").code == 3
    assert site.here("node", "status", "nonsense").code == 2
    assert here("job", "list").code == 2  # no fleet on this laptop


def test_usage(tmp_path: Path) -> None:
    assert here("node", "start").code == 2
    assert here("node", "run").code == 2
    assert here().code == 2
    done = here("job", "submit", "--json")
    assert done.code == 2 and done.json["title"] == "config"
    assert here("--version").out.startswith("edgenode, version")
