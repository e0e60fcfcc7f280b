"""The pool of workers: the sandbox as the agent sees it. Blocking and thread-safe; the engine itself never enters the agent's process.

    prepare(module):  memory -> cache -> compiler                     ModuleError, LimitError
    run(module, …):   borrow -> load once -> step -> give back        StepResult, or a FaultError and a new worker

Retrying a fault and quarantine are the caller's policy.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from edgenode.clock import Clock, SystemClock
from edgenode.config import SandboxConfig
from edgenode.errors import EdgenodeError, LimitError, ModuleError, NoWorkerError, WorkerDiedError
from edgenode.records import Abi, Capabilities, Engine, Limits, Outcome, OutcomeKind, StepContext, StepResult, matches_any
from edgenode.sandbox.abi import OutputLimits, derived_channels, request_head
from edgenode.sandbox.artifacts import Artifacts
from edgenode.sandbox.cache import Cache
from edgenode.sandbox.process import Call, WorkerProcess
from edgenode.trust.verify import VerifiedModule

_RESTART_SECONDS: Final = 1.0  # between attempts to start a worker, when they fail


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """``pids`` of the workers that run; ``restarts`` since the start; ``last_fault`` in one line, empty when there was none."""

    pids: tuple[int, ...]
    busy: int
    restarts: int
    last_fault: str


class Pool:
    """``config.workers`` processes, started ahead of need and replaced on any fault.

    ``cache`` is the folder for compiled code (None: compile anew in each process), ``mac_key`` the agent's secret for it, 16 to 64 bytes.
    """

    def __init__(self, config: SandboxConfig, *, cache: Path | None, mac_key: bytes, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or SystemClock()
        self._cache = Cache(cache, mac_key, config.cache_bytes) if cache else None
        self._artifacts: Artifacts | None = None
        self._changed = threading.Condition()  # guards all below
        self._workers: set[WorkerProcess] = set()
        self._free: list[WorkerProcess] = []
        self._engine: Engine | None = None
        self._start_failure: str | None = None  # of the last attempt to start a worker
        self._last_fault = ""
        self._restarts = 0
        self._closed = False
        # One thread starts every worker, since a worker ends with the thread that started it.
        self._starter = threading.Thread(target=self._keep_started, name="sandbox-starter", daemon=True)

    def __enter__(self) -> Pool:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def start(self) -> None:
        """Start the workers, and wait until the first is ready. Raises WorkerDiedError when none can be started."""
        self._starter.start()
        with self._changed:
            self._changed.wait_for(lambda: self._engine or self._start_failure)
            failure = self._start_failure if self._engine is None else None
        if failure is not None:
            self.close()
            raise WorkerDiedError(f"no worker could be started: {failure}", hint="'pip check', then install edgenode again")

    def close(self) -> None:
        """End all workers. A step that is running ends with WorkerDiedError."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._starter.is_alive():
            self._starter.join()
        with self._changed:
            free, self._free = self._free, []
            for worker in self._workers:
                worker.kill()
        for worker in free:
            self._discard(worker)
        with self._changed:
            self._changed.wait_for(lambda: not self._workers)  # the busy ones, each discarded by its caller
        if self._artifacts:
            self._artifacts.clear()

    @property
    def engine(self) -> Engine:
        """Which engine the workers run. Known from start() on."""
        if self._engine is None:
            raise RuntimeError("the pool was not started")
        return self._engine

    def status(self) -> PoolStatus:
        with self._changed:
            pids = tuple(sorted(worker.pid for worker in self._workers))
            return PoolStatus(pids, len(self._workers) - len(self._free), self._restarts, self._last_fault)

    def prepare(self, module: VerifiedModule) -> None:
        """Compile the module, or find it in the cache, so that its first step is quick.

        Raises ModuleError for what the ``step`` ABI does not allow, LimitError for what is too costly to compile.
        """
        _check_module(module)
        self._code.get(module)

    def run(self, module: VerifiedModule, *, context: StepContext, params: bytes, state: bytes, frame: bytes, limits: Limits) -> StepResult:
        """Run one step, in at most ``limits.wall_ms`` and the config's own. ``frame`` is the snapshot's.

        Raises WorkerDiedError or WorkerHungError when the worker failed (it is replaced, and a retry can succeed), LimitError for limits
        above this node's, and what ``prepare`` raises. A guest's failure is an outcome.
        """
        _check_module(module)
        self._check_limits(limits)
        call = Call(
            head=request_head(context, params, state, frame),
            frame=frame,
            state=state,
            limits=limits,
            output=OutputLimits.of(module.manifest.capabilities, limits),
            wall_ms=min(limits.wall_ms, self._config.wall_ms),
        )
        artifact = self._code.get(module)
        worker = self._borrow()
        try:
            result = worker.step(module.digest, artifact, call)
        except BaseException as error:  # also an interrupt: the worker may be anywhere in the exchange
            self._retire(worker, error)
            if worker.unloadable():
                self._code.forget(module)
            raise
        self._give_back(worker)
        return _permitted(result, state, module.manifest.capabilities)

    @property
    def _code(self) -> Artifacts:
        if self._artifacts is None:
            raise RuntimeError("the pool was not started")
        return self._artifacts

    def _check_limits(self, limits: Limits) -> None:
        # Refused, not lowered: limits are part of what is signed, and must be the ones that ran.
        if limits.fuel > self._config.fuel:
            raise LimitError("sandbox.fuel", self._config.fuel, limits.fuel, unit="fuel")
        if limits.memory > self._config.memory:
            raise LimitError("sandbox.memory", self._config.memory, limits.memory)

    def _borrow(self) -> WorkerProcess:
        with self._changed:
            while not self._free:
                if self._closed:
                    raise WorkerDiedError("the sandbox is closed")
                if not self._workers and self._start_failure:
                    raise NoWorkerError(f"no worker could be started: {self._start_failure}")
                self._changed.wait()
            return self._free.pop()  # the one used last: its modules and caches are warm

    def _give_back(self, worker: WorkerProcess) -> None:
        with self._changed:
            if not self._closed:
                self._free.append(worker)
                self._changed.notify_all()
                return
        self._discard(worker)

    def _retire(self, worker: WorkerProcess, error: BaseException) -> None:
        with self._changed:
            self._restarts += 1
            self._last_fault = str(error) or type(error).__name__
        self._discard(worker)

    def _discard(self, worker: WorkerProcess) -> None:
        worker.stop()  # not under the lock: a process with much memory takes a while to go
        with self._changed:
            self._workers.discard(worker)
            self._changed.notify_all()

    def _keep_started(self) -> None:
        """Start a worker whenever one is missing, until the pool closes."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or len(self._workers) < self._config.workers)
                if self._closed:
                    return
            try:
                worker = self._start_one()
            except (EdgenodeError, OSError) as error:
                with self._changed:
                    self._start_failure = self._last_fault = str(error)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._closed, timeout=_RESTART_SECONDS)
                continue
            with self._changed:
                if self._engine is None:
                    self._artifacts = Artifacts(self._config, self._cache, worker.engine)
                    self._engine = worker.engine
                self._workers.add(worker)
                self._free.append(worker)
                self._start_failure = None
                self._changed.notify_all()

    def _start_one(self) -> WorkerProcess:
        worker = WorkerProcess(self._clock, self._config.modules_per_worker)
        if self._engine not in (None, worker.engine):
            worker.stop()
            raise WorkerDiedError("the wasmtime package was changed under the running agent", hint="restart the agent")
        return worker


def _permitted(result: StepResult, state: bytes, capabilities: Capabilities) -> StepResult:
    """The result, unless it writes a channel that the manifest does not name: that breaks the reply as a whole, on every node alike."""
    if all(matches_any(capabilities.derives, name) for name in derived_channels(result.derived)):
        return result
    outcome = Outcome(kind=OutcomeKind.REPLY, detail="derived-channel")
    return StepResult(outcome=outcome, fuel=None, summary=b"", state=state, derived=b"", alerts=b"", wall_ns=result.wall_ns)


def _check_module(module: VerifiedModule) -> None:
    if not isinstance(module, VerifiedModule):
        raise TypeError(f"the sandbox runs VerifiedModule, not {type(module).__name__}")
    if module.manifest.abi is not Abi.STEP:
        raise ModuleError(f"its manifest says abi = {module.manifest.abi}, and this sandbox runs {Abi.STEP}")
