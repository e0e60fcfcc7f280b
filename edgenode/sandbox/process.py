"""The agent's handle on one worker process. All that it reads from there is hostile: checked, bounded, and never trusted twice."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from edgenode.clock import Clock
from edgenode.errors import FaultError, MalformedError, WorkerDiedError, WorkerHungError
from edgenode.records import Engine, Limits, Outcome, OutcomeKind
from edgenode.sandbox import wire
from edgenode.sandbox.abi import Bytes, OutputLimits, Reply, check_derived
from edgenode.sandbox.artifacts import Artifact, Code
from edgenode.sandbox.confine import resident_bytes
from edgenode.sandbox.launch import launch
from edgenode.sandbox.shared import RequestArea

START_SECONDS: Final = 30  # a Pi with a cold disk takes about 3
_LOOK_NS: Final = 100_000_000  # between looks at the memory of a worker that takes long
UNBOUNDED: Final = 2**63
_FIRST_READ: Final = 64 * 1024
_LONGEST_TEXT: Final = 64  # of detail and location, as records.Outcome has it
_DETAIL = re.compile(rb"[a-z0-9-]*")
_LOCATION = re.compile(rb"[0-9]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One run, as the worker needs it: ``code`` in slots of its own, ``system`` loaded before it where it is a command's.

    ``request`` goes to the worker in these parts, one after another. ``wall_ms`` is how long the agent waits, ``resident`` how many
    bytes the worker's memory may take meanwhile.
    """

    op: int
    code: tuple[Code, Artifact]
    system: Mapping[str, tuple[Code, Artifact]]
    input: int
    request: Sequence[Bytes]
    limits: Limits
    output: OutputLimits
    log: int
    wall_ms: int
    resident: int


class Answer(NamedTuple):
    """``reply`` is that of the ABI; of a program, its streams are ``reply.summary`` and ``log``."""

    outcome: Outcome
    fuel: int | None
    reply: Reply
    log: bytes
    wall_ns: int


class WorkerProcess:
    """One worker, for one caller at a time. After a FaultError it must be stopped: the stream is no longer in step.

    Start it from a thread that lives as long as it: the kernel ends a worker together with the *thread* that started it.
    """

    def __init__(self, clock: Clock, slots: int, *, target: str, deep: bool) -> None:
        """Start it and wait until it has loaded the engine. Raises WorkerDiedError, WorkerHungError or OSError."""
        self._clock, self._most = clock, wire.FIRST_SLOT + slots
        self._slots: OrderedDict[Code, int] = OrderedDict()  # where the worker keeps what, least recently used first
        self._fixed: set[int] = set()  # the parts of the operating system that it has
        self._link, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with far:
            try:
                self._area = RequestArea()
            except BaseException:
                self._link.close()
                raise
            try:
                inherit = [far.fileno(), self._area.descriptor]
                self._process = launch("worker", (*inherit, os.getpid(), self._most, target, int(deep)), inherit=inherit)
            except BaseException:
                self._link.close()
                self._area.close()
                raise
        self.pid = self._process.pid
        try:
            self.engine, self.confinement = self._hello()
        except BaseException:
            self.stop()
            raise

    def run(self, call: Call) -> Answer:
        """Run one step or program. Raises WorkerDiedError or WorkerHungError."""
        began = self._clock.monotonic_ns()
        deadline = began + call.wall_ms * 1_000_000
        length = self._area.put(*call.request)
        try:
            self._load_system(call, deadline)
            slot = self._slot(*call.code, deadline)
            self._send(self._header(slot, length, call), deadline)
            response, body = self._receive_response(deadline, call)
        except TimeoutError as error:
            raise WorkerHungError(f"worker {self.pid} did not answer in {call.wall_ms} ms") from error
        except (OSError, EOFError) as error:
            raise self._died() from error
        finally:
            self._area.release(length)
        if response.wall_ns > self._clock.monotonic_ns() - began:
            raise self._protocol("wall time")
        return self._answer(response, body, call)

    def alive(self) -> bool:
        return self._process.poll() is None

    def unloadable(self) -> bool:
        """Whether it ended because its engine does not take the code that it was handed."""
        return self._process.poll() == wire.UNLOADABLE

    def kill(self) -> None:
        """End it at once; whoever waits for its answer gets a WorkerDiedError."""
        self._process.kill()

    def stop(self) -> None:
        """Kill it, wait until it is gone, and close the link."""
        self._process.kill()
        self._process.wait()
        self._link.close()
        self._area.close()

    def _hello(self) -> tuple[Engine, wire.Confinement]:
        deadline = self._clock.monotonic_ns() + START_SECONDS * 1_000_000_000
        try:
            return wire.unpack_hello(bytes(self._receive(bytearray(), wire.HELLO.size, deadline, UNBOUNDED)))
        except TimeoutError as error:
            raise WorkerHungError(f"worker {self.pid} did not start in {START_SECONDS} s") from error
        except (OSError, EOFError) as error:
            raise self._died() from error
        except ValueError as error:
            raise self._protocol("hello") from error

    def _load_system(self, call: Call, deadline: int) -> None:
        for slot, name in ((wire.WASI, "wasi"), (wire.BRIDGE, "bridge")):
            if call.system and slot not in self._fixed:
                self._load(slot, *call.system[name], deadline)
                self._fixed.add(slot)

    def _slot(self, code: Code, artifact: Artifact, deadline: int) -> int:
        slot = self._slots.get(code)
        if slot is not None:
            self._slots.move_to_end(code)
            return slot
        free = wire.FIRST_SLOT + len(self._slots)
        slot = free if free < self._most else self._slots.popitem(last=False)[1]
        self._load(slot, code, artifact, deadline)
        self._slots[code] = slot
        return slot

    def _load(self, slot: int, code: Code, artifact: Artifact, deadline: int) -> None:
        self._send(wire.REQUEST.pack(*wire.Request(wire.LOAD, wire.KINDS.index(code.kind), 0, slot)), deadline)
        socket.send_fds(self._link, [b"\0"], [artifact.descriptor])

    def _header(self, slot: int, length: int, call: Call) -> bytes:
        limits, output = call.limits, call.output
        request = wire.Request(
            op=call.op,
            kind=wire.KINDS.index(call.code[0].kind),
            input=call.input,
            slot=slot,
            fuel=limits.fuel,
            memory=limits.memory,
            files=limits.files,
            summary=output.summary,
            state=output.state,
            derived=output.derived,
            alerts=output.alerts,
            log=call.log,
            length=length,
        )
        return wire.REQUEST.pack(*request)

    def _send(self, header: bytes, deadline: int) -> None:
        self._link.settimeout(self._left(deadline))
        self._link.sendall(header)

    def _receive_response(self, deadline: int, call: Call) -> tuple[wire.Response, memoryview]:
        data = self._receive(bytearray(), wire.RESPONSE.size, deadline, call.resident)
        response = wire.Response(*wire.RESPONSE.unpack_from(data))
        self._check_lengths(response, call)
        total = wire.RESPONSE.size + sum(_lengths(response))
        data = self._receive(data, total, deadline, call.resident)
        if len(data) > total:
            raise self._protocol("length")
        return response, memoryview(data)[wire.RESPONSE.size :]

    def _receive(self, data: bytearray, size: int, deadline: int, resident: int) -> bytearray:
        """``data`` lengthened to at least ``size`` bytes, watching meanwhile how the worker's memory grows."""
        look = self._clock.monotonic_ns() + _LOOK_NS
        while len(data) < size:
            if self._clock.monotonic_ns() > look:
                self.check_resident(resident)
                look = self._clock.monotonic_ns() + _LOOK_NS
            self._link.settimeout(min(self._left(deadline), _LOOK_NS / 1e9))
            with contextlib.suppress(TimeoutError):
                got = self._link.recv(max(_FIRST_READ, size - len(data)))  # nearly always all of it
                if not got:
                    raise EOFError
                data += got
        return data

    def check_resident(self, most: int) -> None:
        """Raises WorkerDiedError when its memory has grown beyond ``most`` bytes, or it is gone."""
        try:
            met = resident_bytes(self.pid)
        except OSError as error:
            raise self._died() from error
        if met > most:
            raise WorkerDiedError(f"worker {self.pid} grew to {met} bytes, and {most} are allowed")

    def _left(self, deadline: int) -> float:
        left = deadline - self._clock.monotonic_ns()
        if left <= 0:
            raise TimeoutError
        return left / 1e9

    def _check_lengths(self, response: wire.Response, call: Call) -> None:
        limits = call.output
        fits = (
            response.outcome < len(wire.OUTCOMES)
            and response.flags <= wire.HAS_FUEL | wire.HAS_STATE
            and response.detail <= _LONGEST_TEXT
            and response.location <= _LONGEST_TEXT
            and response.summary <= limits.summary
            and response.state <= limits.state
            and response.derived <= limits.derived
            and response.alerts <= limits.alerts
            and response.log <= call.log
        )
        if not fits:
            raise self._protocol("header")

    def _answer(self, response: wire.Response, body: memoryview, call: Call) -> Answer:
        parts, at = [], 0
        for length in _lengths(response):
            parts.append(bytes(body[at : at + length]))
            at += length
        detail, location, summary, state, derived, alerts, log = parts
        if not _DETAIL.fullmatch(detail) or not _LOCATION.fullmatch(location):
            raise self._protocol("text")
        kind = wire.OUTCOMES[response.outcome]
        has_state = bool(response.flags & wire.HAS_STATE)
        fuel = response.fuel if response.flags & wire.HAS_FUEL else None
        if not self._fuel_fits(kind, fuel, call.limits.fuel):
            raise self._protocol("fuel")
        if (kind is OutcomeKind.EXIT) is not (response.exit_code != 0):
            raise self._protocol("exit code")
        if kind is OutcomeKind.OK:
            try:
                check_derived(derived)
            except MalformedError as error:
                raise self._protocol("derived") from error
        elif derived or alerts or has_state or (summary and call.op != wire.PROGRAM):
            raise self._protocol("outcome")
        outcome = Outcome(kind=kind, detail=detail.decode(), location=location.decode(), exit_code=response.exit_code or None)
        return Answer(outcome, fuel, Reply(summary, state if has_state else None, derived, alerts), log, response.wall_ns)

    @staticmethod
    def _fuel_fits(kind: OutcomeKind, fuel: int | None, budget: int) -> bool:
        if kind in (OutcomeKind.OK, OutcomeKind.EXIT):
            return fuel is not None and fuel <= budget
        return fuel == (budget if kind is OutcomeKind.FUEL else None)

    def _died(self) -> WorkerDiedError:
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return WorkerDiedError(f"worker {self.pid} closed its link")
        if status == wire.LIMITED:
            return WorkerDiedError(
                "this process has a limit on address space or data, which would show in signed results",
                hint="lift it: 'ulimit -v unlimited -d unlimited', or LimitAS= and LimitDATA= of the unit",
            )
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return WorkerDiedError(f"worker {self.pid} ended by {how}")

    def _protocol(self, what: str) -> FaultError:
        return WorkerDiedError(f"worker {self.pid} broke the protocol ({what}), and is not trusted any more")


def _lengths(response: wire.Response) -> tuple[int, ...]:
    return (response.detail, response.location, response.summary, response.state, response.derived, response.alerts, response.log)
