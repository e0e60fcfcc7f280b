"""``edgenode demo`` as a real process."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

LONGEST = 20.0  # s, after installation
DEMO = [sys.executable, "-m", "edgenode", "demo"]


def run(*arguments: str) -> dict[str, Any]:
    began = time.monotonic()
    done = subprocess.run([*DEMO, *arguments, "--json"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr + done.stdout
    assert time.monotonic() - began < LONGEST
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_every_node_answers_and_the_hub_holds_the_same_bytes() -> None:
    told = run()
    assert told["ok"] and told["found_by"] == "mdns"
    names = ["node-1", "node-2", "node-3"]
    assert [node["name"] for node in told["nodes"]] == names
    assert len({node["key"] for node in told["nodes"]} | {told["hub"]["key"]}) == 4
    assert [receipt["node"]["name"] for receipt in told["receipts"]] == names
    assert told["hub"]["receipts"] == 3
    assert told["submitted_through"] in names
    for receipt in told["receipts"]:
        assert receipt["core"]["outcome"]["kind"] == "ok"
        assert receipt["core"]["fuel"] > 0
        assert receipt["summary"]["host/cpu"]["count"] > 1
        assert receipt["submit_to_receipt_ms"] > 0
    assert list(told["timings_s"].values()) == sorted(told["timings_s"].values())


def test_without_multicast_the_peers_of_the_configuration_do() -> None:
    told = run("--no-multicast", "--nodes", "2")
    assert told["ok"] and told["found_by"] == "static"
    assert len(told["receipts"]) == told["hub"]["receipts"] == 2


def test_an_interface_without_multicast_is_told() -> None:
    done = subprocess.run([*DEMO, "--interface", "203.0.113.1", "--json"], capture_output=True, text=True, timeout=60)
    assert "multicast is not available on 203.0.113.1" in done.stderr
    assert done.returncode == 2  # nor is it this machine's address
    assert "203.0.113.1" in json.loads(done.stdout)["detail"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_kept_up_until_a_signal_and_nothing_stays(how: signal.Signals, tmp_path: Path) -> None:
    with subprocess.Popen([*DEMO, "--keep", "--nodes", "1", "--state", str(tmp_path / "demo")], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        told = ""
        for line in demo.stdout:
            told += line
            if line.startswith("Ctrl-C"):
                break
        assert re.search(r"node-1  127\.0\.0\.1:\d+", told), told
        descendants = psutil.Process(demo.pid).children(recursive=True)
        assert len(descendants) >= 2
        demo.send_signal(how)
        assert demo.wait(15) == 0
    assert not psutil.wait_procs(descendants, timeout=5)[1]
    assert (tmp_path / "demo" / "laptop" / "trust.cbor").exists()


def test_interrupted_before_it_is_done_it_ends_all_and_says_so(tmp_path: Path) -> None:
    with subprocess.Popen([*DEMO, "--state", str(tmp_path)], stdout=subprocess.PIPE, text=True) as demo:
        process = psutil.Process(demo.pid)
        while not process.children():
            time.sleep(0.05)
        descendants = process.children(recursive=True)
        demo.send_signal(signal.SIGINT)
        assert demo.wait(15) == 130
    assert not psutil.wait_procs(descendants, timeout=5)[1]


def test_a_folder_in_use_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "laptop").mkdir()
    (tmp_path / "laptop" / "trust.cbor").write_text("mine")
    done = subprocess.run([*DEMO, "--state", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 5
    assert "is there already" in done.stderr
    assert (tmp_path / "laptop" / "trust.cbor").read_text() == "mine"
