"""The modes of a sandbox: machine code, the portable interpreter, and a replayer's deep stack. Same results and fuel in each."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.config import SandboxConfig
from edgenode.errors import ConfigError
from edgenode.records import Abi, Limits, OutcomeKind, StepResult
from edgenode.sandbox.pool import Pool

from .conftest import KEY
from .guests import HELLO, guest, module, run
from .test_commands import COMMAND_LIMITS, ECHO, FRAME

ROOT = Path(__file__).parents[3]

# As deep as its params say; each call is of the same size.
DEEP = """(func $down (param $left i32) (result i32)
    (if (result i32) (local.get $left) (then (i32.add (call $down (i32.sub (local.get $left) (i32.const 1))) (i32.const 1)))
        (else (i32.const 0))))"""


@pytest.fixture(scope="module")
def pulley(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pool]:
    with Pool(SandboxConfig(mode="pulley"), cache=tmp_path_factory.mktemp("code"), mac_key=KEY) as started:
        yield started


def same(one: StepResult, other: StepResult) -> bool:
    names = ("outcome", "fuel", "summary", "state", "derived", "alerts", "log")
    return all(getattr(one, name) == getattr(other, name) for name in names)


def test_interpreter_gives_the_same_results_and_fuel(pool: Pool, pulley: Pool) -> None:
    for wasm in (HELLO, guest("unreachable"), guest("(loop br 0) unreachable")):
        assert same(run(pool, wasm), run(pulley, wasm))
    command = module(ECHO, abi=Abi.WASI_COMMAND)
    assert same(run(pool, command, frame=FRAME, limits=COMMAND_LIMITS), run(pulley, command, frame=FRAME, limits=COMMAND_LIMITS))


W_XOR_X = """
import ctypes, pathlib, sys, tempfile
if ctypes.CDLL(None).prctl(65, 1, 0, 0, 0):  # PR_SET_MDWE, as systemd's MemoryDenyWriteExecute: Linux 6.3
    sys.exit(77)
from edgenode.config import SandboxConfig
from edgenode.errors import FaultError
from edgenode.sandbox.pool import Pool
from tests.unit.sandbox.guests import HELLO, run
with Pool(SandboxConfig(mode="pulley"), cache=None, mac_key=bytes(32)) as pool:
    assert run(pool, HELLO).summary == b"hello"
    maps = pathlib.Path(f"/proc/{pool.status().pids[0]}/maps").read_text().splitlines()
    assert not [line for line in maps if "wx" in line.split()[1] or ("memfd:code" in line and "x" in line.split()[1])], maps
with Pool(SandboxConfig(), cache=None, mac_key=bytes(32)) as pool:
    try:
        run(pool, HELLO)
    except FaultError as error:
        print(error.what, error.hint)
"""


def test_interpreter_runs_where_no_memory_may_be_written_and_run() -> None:
    done = subprocess.run([sys.executable, "-c", W_XOR_X], cwd=ROOT, capture_output=True, text=True, timeout=60)
    if done.returncode == 77:
        pytest.skip("needs PR_SET_MDWE")
    assert done.returncode == 0, done.stderr
    assert "lets no process make memory executable" in done.stdout and "pulley" in done.stdout


def test_code_of_one_mode_is_not_taken_for_the_others(tmp_path: Path) -> None:
    for mode in ("native", "pulley", "native"):
        with Pool(SandboxConfig(mode=mode), cache=tmp_path, mac_key=KEY) as one:
            assert run(one, HELLO).outcome.ok
    assert len(list(tmp_path.glob("*.code"))) == 2


def test_replayer_reaches_deeper_than_a_node(pool: Pool, tmp_path: Path) -> None:
    with Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY, deep=True) as replayer:
        for depth, here, there in ((100, "reply", "reply"), (30_000, "stack", "reply"), (10_000_000, "stack", "stack")):
            wasm = guest(f"(i64.extend_i32_u (call $down (i32.const {depth})))", more=DEEP)
            limits = Limits(fuel=1_000_000_000, memory=1 << 20)
            assert (run(pool, wasm, limits=limits).outcome.kind, run(replayer, wasm, limits=limits).outcome.kind) == (
                OutcomeKind(here),
                OutcomeKind(there),
            )


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"sandbox\.mode is 'jit'"):
        SandboxConfig(mode="jit")
