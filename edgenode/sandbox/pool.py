"""The pool of workers: the sandbox as the agent sees it. Blocking and thread-safe; the engine itself never enters the agent's process.

    prepare(module):      memory -> cache -> compiler                     ModuleError, LimitError
    run(module, …):       borrow -> load once -> step -> give back        StepResult, or a FaultError and a new worker
    execute(program, …):  the same for a program over an image            ProgramResult

Retrying a fault and quarantine are the caller's policy.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

from edgenode.clock import Clock, SystemClock
from edgenode.config import SandboxConfig
from edgenode.errors import LimitError, ModuleError, NoWorkerError, WorkerDiedError
from edgenode.formats.stdin import MEDIA_TYPES, fits
from edgenode.records import Abi, Engine, Limits, Outcome, OutcomeKind, ProgramResult, StepContext, StepResult, matches_any
from edgenode.sandbox import wire
from edgenode.sandbox.abi import Bytes, OutputLimits, Reply, derived_channels, request_head
from edgenode.sandbox.artifacts import Artifact, Artifacts, Code
from edgenode.sandbox.cache import Cache
from edgenode.sandbox.process import Answer, Call, WorkerProcess
from edgenode.sandbox.wire import PULLEY, Confinement
from edgenode.trust.verify import VerifiedModule

_RESTART_SECONDS: Final = 1.0  # between attempts to start a worker, when they fail
_LOOK_SECONDS: Final = 5.0  # between looks at idle workers
_START_ATTEMPTS: Final = 3  # that fail in a row, before those who wait for a worker are told: one may have been killed by chance


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """``pids`` of the workers that run; ``restarts`` since the start; ``last_fault`` in one line, empty when there was none."""

    pids: tuple[int, ...]
    busy: int
    restarts: int
    last_fault: str
    mode: str
    confinement: Confinement


class Pool:
    """``config.workers`` processes, started ahead of need and replaced on any fault.

    ``cache`` is the folder for compiled code (None: compile anew in each process), ``mac_key`` the agent's secret for it, 16 to 64 bytes.
    ``deep`` gives the workers a replayer's stack (DESIGN §5), so that their own is not what ends a step.
    """

    def __init__(
        self, config: SandboxConfig, *, cache: Path | None, mac_key: bytes, clock: Clock | None = None, deep: bool = False
    ) -> None:
        self._config, self._deep = config, deep
        self._target = PULLEY if config.mode == "pulley" else ""
        self._clock = clock or SystemClock()
        self._cache = Cache(cache, mac_key, config.cache_bytes) if cache else None
        self._artifacts: Artifacts | None = None
        self._changed = threading.Condition()  # guards all below
        self._workers: set[WorkerProcess] = set()
        self._free: list[WorkerProcess] = []
        self._engine: Engine | None = None
        self._confinement: Confinement | None = None  # of the worker that was started last
        self._start_failure: str | None = None  # of the last attempt to start a worker
        self._failures_in_a_row = 0
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
            confinement = self._confinement or Confinement(0, False, False)
            busy = len(self._workers) - len(self._free)
            return PoolStatus(pids, busy, self._restarts, self._last_fault, self._config.mode, confinement)

    def prepare(self, module: VerifiedModule) -> None:
        """Compile the module, or find it in the cache, so that its first step is quick.

        Raises ModuleError for what its ABI does not allow, LimitError for what is too costly to compile.
        """
        _check_module(module)
        self._code.module(module)
        self._system(module)

    def run(self, module: VerifiedModule, *, context: StepContext, params: bytes, state: bytes, frame: bytes, limits: Limits) -> StepResult:
        """Run one step, in at most ``limits.wall_ms`` and the config's own. ``frame`` is the snapshot's.

        Raises WorkerDiedError or WorkerHungError when the worker failed (it is replaced, and a retry can succeed), LimitError for limits
        above this node's, and what ``prepare`` raises. A guest's failure is an outcome.
        """
        _check_module(module)
        capabilities = module.manifest.capabilities
        answer = self._call(
            module,
            wire.STEP,
            request=(request_head(context, params, state, frame), frame),
            limits=limits,
            output=OutputLimits.of(capabilities, limits),
            log=self._config.log_bytes,
        )
        # What writes a channel that the manifest does not name breaks the reply as a whole, on every node alike.
        if not all(matches_any(capabilities.derives, name) for name in derived_channels(answer.reply.derived)):
            answer = Answer(Outcome(kind=OutcomeKind.REPLY, detail="derived-channel"), None, Reply(), answer.log, answer.wall_ns)
        return StepResult(
            outcome=answer.outcome,
            fuel=answer.fuel,
            summary=answer.reply.summary,
            state=state if answer.reply.state is None else answer.reply.state,
            derived=answer.reply.derived,
            alerts=answer.reply.alerts,
            wall_ns=answer.wall_ns,
            log=answer.log,
        )

    def execute(self, program: VerifiedModule, *, image: Sequence[Bytes], limits: Limits, streams: int) -> ProgramResult:
        """Run a command over an image (image.py) of the caller's own, keeping ``streams`` bytes of stdout and of stderr. Raises as run."""
        _check_module(program)
        output = OutputLimits(summary=streams, state=0, derived=0, alerts=0)
        answer = self._call(program, wire.PROGRAM, request=image, limits=limits, output=output, log=streams)
        return ProgramResult(
            outcome=answer.outcome, fuel=answer.fuel, stdout=answer.reply.summary, stderr=answer.log, wall_ns=answer.wall_ns
        )

    def _call(self, module: VerifiedModule, op: int, *, request: Sequence[Bytes], limits: Limits, output: OutputLimits, log: int) -> Answer:
        self._check_limits(limits)
        code = self._code.module(module)
        call = Call(
            op=op,
            code=code,
            system=self._system(module),
            input=MEDIA_TYPES.index(module.manifest.input),
            request=request,
            limits=limits,
            output=output,
            log=log,
            wall_ms=min(limits.wall_ms, self._config.wall_ms),
            resident=self._config.resident,
        )
        worker = self._borrow()
        try:
            answer = worker.run(call)
        except BaseException as error:  # also an interrupt: the worker may be anywhere in the exchange
            self._retire(worker, error)
            if worker.unloadable():
                for one, _ in (code, *call.system.values()):
                    self._code.forget(one)
            raise
        self._give_back(worker)
        return answer

    def _system(self, module: VerifiedModule) -> Mapping[str, tuple[Code, Artifact]]:
        return self._code.system() if module.manifest.abi is Abi.WASI_COMMAND else {}

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
        if limits.files > self._config.files:
            raise LimitError("sandbox.files", self._config.files, limits.files)

    def _borrow(self) -> WorkerProcess:
        """A worker that lives: one that was killed while it waited costs nobody an attempt."""
        while True:
            with self._changed:
                while not self._free:
                    if self._closed:
                        raise WorkerDiedError("the sandbox is closed")
                    if not self._workers and self._failures_in_a_row >= _START_ATTEMPTS:
                        raise NoWorkerError(f"no worker could be started: {self._start_failure}")
                    self._changed.wait()
                worker = self._free.pop()  # the one used last: its modules and caches are warm
            if worker.alive():
                return worker
            self._retire(worker, WorkerDiedError(f"worker {worker.pid} ended while it waited"))

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
                missing = lambda: self._closed or len(self._workers) < self._config.workers  # noqa: E731
                if not self._changed.wait_for(missing, timeout=_LOOK_SECONDS):
                    idle = list(self._free)
                elif self._closed:
                    return
                else:
                    idle = []
            for worker in idle:
                self._look_at(worker)
            if idle or len(self._workers) >= self._config.workers:
                continue
            try:
                worker = self._start_one()
            except Exception as error:  # whatever it is, MemoryError too: without this thread nobody would start a worker again
                with self._changed:
                    self._start_failure = self._last_fault = str(error) or type(error).__name__
                    self._failures_in_a_row += 1
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._closed, timeout=_RESTART_SECONDS)
                continue
            with self._changed:
                if self._engine is None:
                    self._artifacts = Artifacts(self._config, self._cache, worker.engine, self._target)
                    self._engine = worker.engine
                self._confinement = worker.confinement
                self._workers.add(worker)
                self._free.append(worker)
                self._start_failure, self._failures_in_a_row = None, 0
                self._changed.notify_all()

    def _look_at(self, worker: WorkerProcess) -> None:
        """Replace an idle worker that is gone, or has grown without being asked to: a guest may have taken it over."""
        with self._changed:
            if worker not in self._free:
                return
            self._free.remove(worker)
        try:
            worker.check_resident(self._config.resident)
        except WorkerDiedError as error:
            self._retire(worker, error)
        else:
            self._give_back(worker)

    def _start_one(self) -> WorkerProcess:
        worker = WorkerProcess(self._clock, self._config.modules_per_worker, target=self._target, deep=self._deep)
        if self._engine not in (None, worker.engine):
            worker.stop()
            raise WorkerDiedError("the wasmtime package was changed under the running agent", hint="restart the agent")
        return worker


def _check_module(module: VerifiedModule) -> None:
    if not isinstance(module, VerifiedModule):
        raise TypeError(f"the sandbox runs VerifiedModule, not {type(module).__name__}")
    if not fits(module.manifest.abi, module.manifest.input):
        raise ModuleError(f"its manifest wants samples as {module.manifest.input!r:.80}, which abi = {module.manifest.abi} does not have")
