"""The pool: real workers, killed, stopped and lied for."""

from __future__ import annotations

import dataclasses
import os
import platform
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import cast

import pytest

from edgenode import config
from edgenode.config import SandboxConfig
from edgenode.errors import LimitError, ModuleError, WorkerDiedError, WorkerHungError
from edgenode.records import Abi, Limits
from edgenode.sandbox import artifacts
from edgenode.sandbox import pool as pool_module
from edgenode.sandbox.cache import Cache, code_identity
from edgenode.sandbox.compiler import compile_module
from edgenode.sandbox.pool import Pool
from edgenode.sandbox.wire import Kind
from edgenode.trust.verify import VerifiedModule

from .conftest import KEY
from .guests import CONTEXT, ENDLESS, HELLO, LIMITS, guest, module, replying, run, section, series

FOREVER = Limits(fuel=100_000_000_000, memory=1 << 20, wall_ms=60_000)


def until(true: Callable[[], bool]) -> None:
    """Wait for another process: there is no event for what /proc says."""
    end = time.monotonic() + 10
    while not true():
        assert time.monotonic() < end, "did not happen in 10 s"
        time.sleep(0.001)


def running(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "R"


def only_pid(pool: Pool) -> int:
    until(lambda: bool(pool.status().pids))
    (pid,) = pool.status().pids
    return pid


def test_fuel_is_the_same_in_every_run_and_every_worker(pool: Pool, own_pool: Pool) -> None:
    busy = guest(
        "(local $n i32) (loop (local.set $n (i32.add (local.get $n) (i32.const 1))) (br_if 0 (i32.lt_u (local.get $n) (i32.const 99999))))"
        "(i64.const 0)"
    )
    fuels = {run(one, busy).fuel for one in (pool, pool, own_pool)}
    assert len(fuels) == 1
    assert fuels != {None}


def test_worker_killed_in_the_middle_of_a_step(own_pool: Pool) -> None:
    pid = only_pid(own_pool)
    with ThreadPoolExecutor(1) as threads:
        step = threads.submit(run, own_pool, ENDLESS, limits=FOREVER)
        until(lambda: own_pool.status().busy == 1 and running(pid))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerDiedError, match="SIGKILL"):
            step.result()
    assert run(own_pool, HELLO).summary == b"hello"
    status = own_pool.status()
    assert (status.restarts, status.busy, "SIGKILL" in status.last_fault) == (1, 0, True)
    assert status.pids != (pid,)


def test_hung_worker_is_replaced(own_pool: Pool) -> None:
    os.kill(pid := only_pid(own_pool), signal.SIGSTOP)
    with pytest.raises(WorkerHungError, match="200 ms"):
        run(own_pool, HELLO, limits=dataclasses.replace(LIMITS, wall_ms=200))
    assert not Path(f"/proc/{pid}").exists()
    assert run(own_pool, HELLO).outcome.ok


def test_step_over_its_wall_time_is_a_fault_and_the_config_caps_it(tmp_path: Path) -> None:
    with Pool(SandboxConfig(wall_ms=100), cache=tmp_path, mac_key=KEY) as pool:
        with pytest.raises(WorkerHungError, match="100 ms"):
            run(pool, ENDLESS, limits=FOREVER)
        assert run(pool, HELLO).outcome.ok


def test_hung_worker_that_takes_no_bytes(own_pool: Pool) -> None:
    count = 200_000  # far more than the socket buffers
    frame = section(16, series("x", "", range(count), [0.0] * count))
    os.kill(only_pid(own_pool), signal.SIGSTOP)
    with pytest.raises(WorkerHungError):
        run(own_pool, HELLO, frame=frame, limits=dataclasses.replace(LIMITS, wall_ms=200))


def test_two_workers_run_at_once_and_more_callers_wait(tmp_path: Path) -> None:
    with Pool(SandboxConfig(workers=2), cache=tmp_path, mac_key=KEY) as pool:
        until(lambda: len(pool.status().pids) == 2)
        with ThreadPoolExecutor(8) as threads:
            endless = [threads.submit(run, pool, ENDLESS, limits=dataclasses.replace(FOREVER, wall_ms=500)) for _ in range(2)]
            until(lambda: pool.status().busy == 2)
            waiting = [threads.submit(run, pool, HELLO) for _ in range(6)]
            assert all(isinstance(one.exception(), WorkerHungError) for one in endless)
            assert {one.result().summary for one in waiting} == {b"hello"}
        assert pool.status().restarts == 2


def test_modules_are_evicted_from_a_worker_and_loaded_again(tmp_path: Path) -> None:
    guests = [replying(section(32, bytes([n]))) for n in range(4)]
    with Pool(SandboxConfig(modules_per_worker=2), cache=tmp_path, mac_key=KEY) as pool:
        for _ in range(3):
            assert [run(pool, one).summary for one in guests] == [b"\0", b"\1", b"\2", b"\3"]
        links = [str(path.readlink()) for path in Path(f"/proc/{only_pid(pool)}/fd").iterdir()]
        assert sum("memfd:code" in link for link in links) == 2
        assert pool.status().restarts == 0


def test_raw_bytes_are_refused(pool: Pool) -> None:
    with pytest.raises(TypeError, match="VerifiedModule"):
        pool.prepare(HELLO)  # type: ignore[arg-type]  # and mypy says so
    with pytest.raises(TypeError, match="VerifiedModule"):
        pool.run(cast(VerifiedModule, HELLO), context=CONTEXT, params=b"", state=b"", frame=b"", limits=LIMITS)


def test_module_of_another_abi_than_its_manifest_says_is_refused(pool: Pool) -> None:
    with pytest.raises(ModuleError, match="no function _start"):
        pool.prepare(module(HELLO, abi=Abi.WASI_COMMAND))


def test_workers_killed_while_they_wait_cost_no_attempt(tmp_path: Path) -> None:
    with Pool(SandboxConfig(workers=2), cache=tmp_path, mac_key=KEY) as pool:
        run(pool, HELLO)
        while len(pool.status().pids) < 2:
            time.sleep(0.01)
        for pid in pool.status().pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pool.status().pids:
            while Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z":
                time.sleep(0.001)
        assert run(pool, HELLO).outcome.ok
        assert pool.status().restarts == 2


ROOT = Path(__file__).parents[3]

GROWS = """
import resource, sys
from edgenode.config import SandboxConfig
from edgenode.errors import WorkerDiedError
from edgenode.records import Limits
from edgenode.sandbox.pool import Pool
from tests.unit.sandbox.guests import guest, run
soft, hard = int(sys.argv[1]), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))
body = "(if (i32.eq (memory.grow (i32.const 12000)) (i32.const -1)) (then unreachable)) (i64.const 0)"
try:
    with Pool(SandboxConfig(memory=1 << 30), cache=None, mac_key=bytes(32)) as pool:
        print(run(pool, guest(body), limits=Limits(fuel=10_000_000, memory=1 << 30)).outcome.kind)
except WorkerDiedError as error:
    print(error.what)
"""


@pytest.mark.parametrize(("hard", "told"), [(-1, "ok"), (600 << 20, "limit on address space or data")])
def test_an_inherited_limit_on_memory_never_shows_in_a_result(hard: int, told: str) -> None:
    command = [sys.executable, "-c", GROWS, str(600 << 20), str(hard)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert told in done.stdout, done.stdout + done.stderr


def test_idle_worker_that_grew_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_LOOK_SECONDS", 0.05)
    with Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY) as pool:
        before = only_pid(pool)
        monkeypatch.setattr(config, "WORKER_BYTES", -(1 << 30))  # as if it had grown
        until(lambda: pool.status().restarts > 0)
        assert "grew to" in pool.status().last_fault
        monkeypatch.undo()
        until(lambda: len(pool.status().pids) == 1 and only_pid(pool) != before)
        assert run(pool, HELLO).outcome.ok


def test_worker_that_grows_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "WORKER_BYTES", -(80 << 20))
    touch = """(local $at i32)
        (drop (memory.grow (i32.const 1600)))
        (loop (i32.store (local.get $at) (i32.const 1))
            (local.set $at (i32.and (i32.add (local.get $at) (i32.const 4096)) (i32.const 0x3ffffff))) (br 0)) unreachable"""
    limits = Limits(fuel=50_000_000_000, memory=128 << 20)
    with Pool(SandboxConfig(memory=128 << 20, files=0), cache=tmp_path, mac_key=KEY) as pool:
        before = only_pid(pool)
        with pytest.raises(WorkerDiedError, match="grew to"):
            run(pool, guest(touch), limits=limits)
        assert run(pool, HELLO).outcome.ok
        assert only_pid(pool) != before


def test_limits_above_the_config_are_refused(pool: Pool) -> None:
    with pytest.raises(LimitError, match=r"sandbox\.fuel"):
        run(pool, HELLO, limits=dataclasses.replace(LIMITS, fuel=10**15))
    with pytest.raises(LimitError, match=r"sandbox\.memory"):
        run(pool, HELLO, limits=dataclasses.replace(LIMITS, memory=2**32))


def test_module_that_cannot_be_compiled_leaves_the_pool_whole(pool: Pool) -> None:
    with pytest.raises(ModuleError, match="not WebAssembly"):
        pool.prepare(module(b"not wasm at all"))
    assert run(pool, HELLO).outcome.ok


def test_module_is_compiled_once_for_many_callers_and_then_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = []
    release = threading.Event()

    def compile_slowly(wasm: bytes, kind: Kind, target: str, config: SandboxConfig) -> bytes:
        compiled.append(wasm)
        release.wait(10)
        return compile_module(wasm, kind, target, config)

    monkeypatch.setattr(artifacts, "compile_module", compile_slowly)
    with Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY) as pool, ThreadPoolExecutor(4) as threads:
        calls = [threads.submit(pool.prepare, module(HELLO)) for _ in range(4)]
        until(lambda: bool(compiled))
        release.set()
        assert [call.result() for call in calls] == [None] * 4
    with Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY) as pool:
        assert run(pool, HELLO).outcome.ok
    assert compiled == [HELLO]


def test_tampered_cache_is_compiled_anew(tmp_path: Path) -> None:
    with Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY) as pool:
        pool.prepare(module(HELLO))
    (path,) = tmp_path.iterdir()
    honest = path.read_bytes()
    path.write_bytes(honest[:-1] + bytes([honest[-1] ^ 1]))
    with Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY) as pool:
        assert run(pool, HELLO).summary == b"hello"
    assert path.read_bytes() == honest


def test_code_that_the_engine_does_not_take_is_compiled_anew(own_pool: Pool, tmp_path: Path) -> None:
    identity = code_identity(module(HELLO).digest, Kind.STEP, own_pool.engine, platform.machine())
    Cache(tmp_path / "code", KEY, 1 << 20).put(identity, b"code of a CPU that was replaced")
    with pytest.raises(WorkerDiedError, match="status 65"):
        run(own_pool, HELLO)
    assert run(own_pool, HELLO).summary == b"hello"


def test_pool_without_a_cache(tmp_path: Path) -> None:
    with Pool(SandboxConfig(), cache=None, mac_key=KEY) as pool:
        assert run(pool, HELLO).summary == b"hello"


def test_close_ends_a_running_step_and_later_ones(tmp_path: Path) -> None:
    pool = Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY)
    pool.start()
    pid = only_pid(pool)
    with ThreadPoolExecutor(1) as threads:
        step = threads.submit(run, pool, ENDLESS, limits=FOREVER)
        until(lambda: pool.status().busy == 1 and running(pid))
        pool.close()
        assert isinstance(step.exception(), WorkerDiedError)
    assert not Path(f"/proc/{pid}").exists()
    with pytest.raises(WorkerDiedError, match="closed"):
        run(pool, HELLO)
    pool.close()


def test_worker_that_cannot_start_is_an_error_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(WorkerDiedError, match="no worker could be started"):
        Pool(SandboxConfig(), cache=tmp_path, mac_key=KEY).start()


def test_worker_inherits_nothing_and_has_given_up_what_it_can(pool: Pool) -> None:
    proc = Path(f"/proc/{only_pid(pool)}")
    assert (proc / "environ").read_bytes() == b""
    assert (proc / "cwd").readlink() == Path("/")
    links = sorted(str(path.readlink()) for path in (proc / "fd").iterdir())
    assert links[:3] == ["/dev/null"] * 3
    assert [link for link in links[3:] if not link.startswith("/memfd:")] == [link for link in links if link.startswith("socket:")]
    assert sum(link.startswith("socket:") for link in links) == 1
    limits = {line[:25].strip(): line[25:].split()[:2] for line in (proc / "limits").read_text().splitlines()}
    assert limits["Max core file size"] == limits["Max processes"] == limits["Max file size"] == ["0", "0"]
    assert int(limits["Max open files"][1]) < 100
    assert limits["Max address space"] == limits["Max data size"] == ["unlimited", "unlimited"]
    assert "NoNewPrivs:\t1" in (proc / "status").read_text()


def test_worker_dies_with_the_agent(tmp_path: Path) -> None:
    script = f"""
import os, pathlib
from edgenode import config
from edgenode.config import SandboxConfig
from edgenode.sandbox.pool import Pool
pool = Pool(SandboxConfig(), cache=pathlib.Path({str(tmp_path)!r}), mac_key=bytes(32))
pool.start()
print(pool.status().pids[0], flush=True)
os.kill(os.getpid(), 9)
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, env=_environment())
    pid = int(ended.stdout)
    until(lambda: not Path(f"/proc/{pid}").exists() or "State:\tZ" in Path(f"/proc/{pid}/status").read_text())


def test_agent_does_not_load_the_engine() -> None:
    script = "import sys, edgenode.sandbox.pool; sys.exit('wasmtime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, env=_environment()).returncode == 0


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(artifacts.__file__).parents[2])}
