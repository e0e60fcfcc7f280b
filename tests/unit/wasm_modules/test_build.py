"""The committed modules are what the sources give, anywhere; they import nothing and export the ABI and no more."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import wasmtime

from .guest import MODULES, ROOT, committed, manifest, request, run

NAMES = ["statistics", "threshold-alarm", "vibration-features"]
WASI = ROOT / "edgenode" / "sandbox" / "wasi"
PARTS = ["wasi", "bridge"]  # of the guests' operating system


def build(script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True)


def test_committed_modules_are_reproduced_byte_for_byte() -> None:
    result = build(MODULES / "build.py", "--check")
    assert result.returncode == 0, result.stdout + result.stderr
    assert result.stdout.count("as committed") == len(NAMES) + len(PARTS)


def test_another_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    away = tmp_path / "a folder with a much longer name"
    shutil.copytree(MODULES, away / "wasm-modules", ignore=shutil.ignore_patterns("*.wasm"))
    shutil.copytree(ROOT / "sdk" / "c", away / "sdk" / "c")
    shutil.copytree(WASI, away / WASI.relative_to(ROOT), ignore=shutil.ignore_patterns("*.wasm"))
    result = build(away / "wasm-modules" / "build.py")
    assert result.returncode == 0, result.stderr
    for part in PARTS:
        assert (away / WASI.relative_to(ROOT) / f"{part}.wasm").read_bytes() == (WASI / f"{part}.wasm").read_bytes()
    for name in NAMES:
        built = (away / "wasm-modules" / name / f"{name}.wasm").read_bytes()
        assert built == (MODULES / name / f"{name}.wasm").read_bytes()


def test_check_notices_a_module_that_differs(tmp_path: Path) -> None:
    shutil.copytree(MODULES, tmp_path / "wasm-modules")
    shutil.copytree(ROOT / "sdk" / "c", tmp_path / "sdk" / "c")
    binary = tmp_path / "wasm-modules" / "statistics" / "statistics.wasm"
    binary.write_bytes(binary.read_bytes()[:-1] + b"\xff")
    result = build(tmp_path / "wasm-modules" / "build.py", "--check", "statistics")
    assert result.returncode == 1
    assert result.stdout.startswith("statistics: DIFFERS")


def test_check_notices_a_part_of_the_operating_system_that_differs(tmp_path: Path) -> None:
    shutil.copytree(MODULES, tmp_path / "wasm-modules")
    shutil.copytree(WASI, tmp_path / WASI.relative_to(ROOT))
    bridge = tmp_path / WASI.relative_to(ROOT) / "bridge.wasm"
    bridge.write_bytes(bridge.read_bytes() + b"\0")
    result = build(tmp_path / "wasm-modules" / "build.py", "--check", "wasi")
    assert result.returncode == 1
    assert [line.split(":")[0] + ": " + line.split()[1] for line in result.stdout.splitlines()] == ["wasi: as", "bridge: DIFFERS"]


def test_an_unknown_name_is_refused() -> None:
    result = build(MODULES / "build.py", "statistic")
    assert result.returncode == 2
    assert "no such module: statistic" in result.stderr


@pytest.mark.parametrize("name", NAMES)
def test_interface(name: str) -> None:
    module = committed(name)
    assert module.imports == []
    kinds = {}
    for export in module.exports:
        kind = export.type
        if isinstance(kind, wasmtime.FuncType):
            kinds[export.name] = f"{[str(one) for one in kind.params]} -> {[str(one) for one in kind.results]}"
        else:
            assert isinstance(kind, wasmtime.MemoryType)
            kinds[export.name] = "memory"
    assert kinds == {
        "memory": "memory",
        "edgenode_alloc": "['i32'] -> ['i32']",
        "edgenode_step": "['i32', 'i32'] -> ['i64']",
    }


@pytest.mark.parametrize("name", NAMES)
def test_nothing_but_code_and_data_is_in_the_binary(name: str) -> None:
    binary = (MODULES / name / f"{name}.wasm").read_bytes()
    assert len(binary) < 20_000
    sections, at = [], 8
    while at < len(binary):
        kind, length, shift, at = binary[at], 0, 0, at + 1
        while True:
            byte = binary[at]
            length, shift, at = length | (byte & 0x7F) << shift, shift + 7, at + 1
            if byte < 0x80:
                break
        sections.append(kind)
        at += length
    assert 0 not in sections, "a custom section: names, producers or debug data"
    assert str(ROOT).encode() not in binary


@pytest.mark.parametrize("name", NAMES)
def test_manifest(name: str) -> None:
    fields = manifest(name)
    assert {key: fields[key] for key in ("name", "version", "sequence", "abi", "input", "output")} == {
        "name": name,
        "version": "1.0.0",
        "sequence": 1,
        "abi": "step",
        "input": "application/vnd.edgenode.frame",
        "output": "application/cbor",
    }
    assert set(fields["capabilities"]) - {"derives"} == {"channels", "summary", "derived", "alerts", "share_snapshot"}
    assert set(fields["limits"]) == {"fuel", "memory", "files", "state", "wall_ms"}


@pytest.mark.parametrize("name", NAMES)
def test_two_runs_agree_in_bytes_and_fuel(name: str) -> None:
    params = b'{"high": 2, "low": 1}' if name == "threshold-alarm" else b""
    first, second = (run(committed(name), request(params=params)) for _ in range(2))
    assert (first.sections, first.fuel) == (second.sections, second.fuel)
