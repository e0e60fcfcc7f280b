"""Programs as their compilers leave them, in three languages: the same report from each, in this sandbox and in the bare engine's own WASI,
and twice the same bytes and fuel; by hand and as a signed job."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import wasmtime

from edgenode.cli import exits
from edgenode.records import Abi, Capabilities, Limits
from edgenode.testing import CHANNEL, Fleet, window
from tests.programs import LANGUAGES, build

from .steps import assert_steps
from .test_cli import here

ABOVE = 95.5
FUEL = 10_000_000_000


@pytest.fixture(name="program", params=LANGUAGES)
def _program(request: pytest.FixtureRequest) -> Path:
    return build(request.param)


@pytest.fixture(name="stdin")
def _stdin(tmp_path: Path) -> Path:
    rows = [f"{row // 10}.{row % 10}00000000,press/{name},{value},N" for row in range(600) for name, value in _values(row).items()]
    path = tmp_path / "stdin.csv"
    path.write_text("\n".join(["time,channel,value,unit", *rows]) + "\n")
    return path


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """What a program has as "/": params, and the state of four runs."""
    folder = tmp_path / "root"
    for name in ("in", "out", "state", "tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "in" / "params.json").write_text(json.dumps({"above": ABOVE}))
    (folder / "state" / "in").write_text("4\n")
    return folder


def _values(row: int) -> dict[str, float]:
    return {"force": float(row % 100)} | ({"angle": row % 8 / 4 - 1} if row % 3 == 0 else {})


def _expected() -> dict[str, Any]:
    columns: dict[str, list[float]] = {}
    for row in range(600):
        for name, value in _values(row).items():
            columns.setdefault(name, []).append(value)
    return {
        "steps": 5,
        "over": 24,
        "parts": {f"press.{name}.txt": sum(len(f"{value}\n") for value in column) for name, column in columns.items()},
        "channels": {f"press/{name}": _statistics(column) for name, column in columns.items()},
        "waited": True,
    }


def _statistics(column: list[float]) -> dict[str, float]:
    return {"count": len(column), "least": min(column), "greatest": max(column), "mean": sum(column) / len(column)}


def _run(program: Path, folder: Path, stdin: Path) -> Mapping[str, Any]:
    done = here("exec", program, "--dir", f"{folder}::/", "--stdin", stdin, "--fuel", FUEL, "--json")
    assert done.code == exits.OK, done.out + done.err
    told: Mapping[str, Any] = done.json
    return told


def test_report_is_right_and_its_run_is_the_same_to_the_byte_and_the_fuel(program: Path, folder: Path, stdin: Path) -> None:
    first, again = _run(program, folder, stdin), _run(program, folder, stdin)
    assert json.loads(first["stdout"]) == _expected() and first["stderr"] == ""
    assert (again["stdout"], again["fuel"]) == (first["stdout"], first["fuel"]) and 0 < first["fuel"] < FUEL
    assert list((folder / "out").iterdir()) == []  # what it wrote was in memory


def test_report_is_the_same_in_the_bare_engine_with_its_own_wasi(program: Path, folder: Path, stdin: Path) -> None:
    engine = wasmtime.Engine()
    linker, config = wasmtime.Linker(engine), wasmtime.WasiConfig()
    linker.define_wasi()
    config.argv = [program.name]
    config.preopen_dir(str(folder), "/")
    config.stdin_file, config.stdout_file = str(stdin), str(folder / "stdout")
    with wasmtime.Store(engine) as store:
        store.set_wasi(config)
        start = linker.instantiate(store, wasmtime.Module.from_file(engine, str(program))).exports(store)["_start"]
        assert isinstance(start, wasmtime.Func)
        try:
            start(store)
        except wasmtime.ExitTrap as ended:
            assert ended.code == 0
    assert json.loads((folder / "stdout").read_text()) == _expected()
    assert (folder / "state" / "out").read_text() == "5\n" and not (folder / "tmp" / "parts").exists()
    derived = (folder / "out" / "derived.csv").read_text().splitlines()
    assert derived[:2] == ["time,channel,value", "9.600000000,press/force.over,96.0"] and len(derived) == 1 + _expected()["over"]


async def test_signed_program_counts_its_steps_and_derives_a_channel(node: Fleet, program: Path) -> None:
    node.publisher.sign(
        "report",
        program.read_bytes(),  # noqa: ASYNC240 - of a test
        abi=Abi.WASI_COMMAND,
        input="text/csv",
        output="application/json",
        capabilities=Capabilities(channels=("*",), summary=4096, derived=65_536, derives=(f"{CHANNEL}.*",), share_snapshot=True),
        limits=Limits(fuel=FUEL, memory=64 << 20, files=16 << 20),
    )
    node.publisher.sign_builtin("statistics")
    async with node.laptop() as laptop:
        results = await laptop.run("report", window=window(size="20s"), params={"above": ABOVE})
        assert_steps(results, 3)
        told = [json.loads(result.receipt.summary) for result in results]
        assert [one["steps"] for one in told] == [1, 2, 3] and {one["over"] for one in told} == {8}
        assert {one["channels"][CHANNEL]["mean"] for one in told} == {49.5} and all(one["waited"] for one in told)
        (after,) = await laptop.run("statistics", channels=[f"{CHANNEL}.over"])
        assert after.summary[f"{CHANNEL}.over"]["count"] == 24
