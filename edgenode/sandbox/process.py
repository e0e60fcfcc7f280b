"""The agent's handle on one worker process. All that it reads from there is hostile: checked, bounded, and never trusted twice."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from edgenode.clock import Clock
from edgenode.errors import FaultError, MalformedError, WorkerDiedError, WorkerHungError
from edgenode.records import Engine, Limits, Outcome, OutcomeKind, StepResult
from edgenode.sandbox import wire
from edgenode.sandbox.abi import OutputLimits, check_derived
from edgenode.sandbox.artifacts import Artifact
from edgenode.sandbox.launch import launch

START_SECONDS: Final = 30  # a Pi with a cold disk takes about 3
_FIRST_READ: Final = 64 * 1024
_LONGEST_TEXT: Final = 64  # of detail and location, as records.Outcome has it
_DETAIL = re.compile(rb"[a-z0-9-]*")
_LOCATION = re.compile(rb"([0-9]+:[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Call:
    """One step, as the worker needs it. The request is ``head`` and then ``frame``; ``wall_ms`` is how long the agent waits."""

    head: bytes
    frame: bytes
    state: bytes
    limits: Limits
    output: OutputLimits
    wall_ms: int


class WorkerProcess:
    """One worker, for one caller at a time. After a FaultError it must be stopped: the stream is no longer in step.

    Start it from a thread that lives as long as it: the kernel ends a worker together with the *thread* that started it.
    """

    def __init__(self, clock: Clock, modules: int) -> None:
        """Start it and wait until it has loaded the engine. Raises WorkerDiedError, WorkerHungError or OSError."""
        self._clock, self._modules = clock, modules
        self._slots: OrderedDict[bytes, int] = OrderedDict()  # module digest -> slot in the worker, least recently used first
        self._link, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        with far:
            try:
                self._process = launch("worker", (far.fileno(), os.getpid(), modules), inherit=[far.fileno()])
            except BaseException:
                self._link.close()
                raise
        self.pid = self._process.pid
        try:
            self.engine = self._hello()
        except BaseException:
            self.stop()
            raise

    def step(self, digest: bytes, artifact: Artifact, call: Call) -> StepResult:
        """Run one step of the module with this digest. Raises WorkerDiedError or WorkerHungError."""
        began = self._clock.monotonic_ns()
        deadline = began + call.wall_ms * 1_000_000
        try:
            slot = self._slot(digest, artifact, deadline)
            self._send(deadline, self._header(slot, call), call.head, call.frame)
            response, body = self._receive_response(deadline, call.output)
        except TimeoutError as error:
            raise WorkerHungError(f"worker {self.pid} did not answer in {call.wall_ms} ms") from error
        except (OSError, EOFError) as error:
            raise self._died() from error
        if response.wall_ns > self._clock.monotonic_ns() - began:
            raise self._protocol("wall time")
        return self._result(response, body, call)

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

    def _hello(self) -> Engine:
        deadline = self._clock.monotonic_ns() + START_SECONDS * 1_000_000_000
        try:
            return wire.unpack_hello(bytes(self._receive(bytearray(), wire.HELLO.size, deadline)))
        except TimeoutError as error:
            raise WorkerHungError(f"worker {self.pid} did not start in {START_SECONDS} s") from error
        except (OSError, EOFError) as error:
            raise self._died() from error
        except UnicodeDecodeError as error:
            raise self._protocol("hello") from error

    def _slot(self, digest: bytes, artifact: Artifact, deadline: int) -> int:
        slot = self._slots.get(digest)
        if slot is not None:
            self._slots.move_to_end(digest)
            return slot
        slot = len(self._slots) if len(self._slots) < self._modules else self._slots.popitem(last=False)[1]
        self._send(deadline, wire.REQUEST.pack(*wire.Request(wire.LOAD, slot)))
        socket.send_fds(self._link, [b"\0"], [artifact.descriptor])
        self._slots[digest] = slot
        return slot

    def _header(self, slot: int, call: Call) -> bytes:
        output = call.output
        length = len(call.head) + len(call.frame)
        return wire.REQUEST.pack(
            wire.STEP,
            slot,
            call.limits.fuel,
            call.limits.memory,
            output.summary,
            output.state,
            output.derived,
            output.alerts,
            length,
        )

    def _send(self, deadline: int, *parts: bytes) -> None:
        self._wait_until(deadline)
        sent = self._link.sendmsg(parts)
        for part in parts:
            if sent < len(part):
                rest = memoryview(part)[sent:]
                self._wait_until(deadline)
                self._link.sendall(rest)  # its timeout is for the whole of it
                sent = 0
            else:
                sent -= len(part)

    def _receive_response(self, deadline: int, limits: OutputLimits) -> tuple[wire.Response, memoryview]:
        self._wait_until(deadline)
        data = bytearray(self._link.recv(_FIRST_READ))  # nearly always all of it
        data = self._receive(data, wire.RESPONSE.size, deadline)
        response = wire.Response(*wire.RESPONSE.unpack_from(data))
        self._check_lengths(response, limits)
        lengths = (response.detail, response.location, response.summary, response.state, response.derived, response.alerts)
        total = wire.RESPONSE.size + sum(lengths)
        data = self._receive(data, total, deadline)
        if len(data) > total:
            raise self._protocol("length")
        return response, memoryview(data)[wire.RESPONSE.size :]

    def _receive(self, data: bytearray, size: int, deadline: int) -> bytearray:
        """``data`` lengthened to ``size`` bytes, unless it is so long already."""
        have = len(data)
        if have < size:
            data.extend(bytes(size - have))
            with memoryview(data) as view:
                while have < size:
                    self._wait_until(deadline)
                    got = self._link.recv_into(view[have:])
                    if got == 0:
                        raise EOFError
                    have += got
        return data

    def _wait_until(self, deadline: int) -> None:
        left = deadline - self._clock.monotonic_ns()
        if left <= 0:
            raise TimeoutError
        self._link.settimeout(left / 1e9)

    def _check_lengths(self, response: wire.Response, limits: OutputLimits) -> None:
        fits = (
            response.kind < len(wire.KINDS)
            and response.zero == 0
            and response.flags <= wire.HAS_FUEL | wire.HAS_STATE
            and response.detail <= _LONGEST_TEXT
            and response.location <= _LONGEST_TEXT
            and response.summary <= limits.summary
            and response.state <= limits.state
            and response.derived <= limits.derived
            and response.alerts <= limits.alerts
        )
        if not fits:
            raise self._protocol("header")

    def _result(self, response: wire.Response, body: memoryview, call: Call) -> StepResult:
        parts, at = [], 0
        for length in (response.detail, response.location, response.summary, response.state, response.derived, response.alerts):
            parts.append(bytes(body[at : at + length]))
            at += length
        detail, location, summary, state, derived, alerts = parts
        if not _DETAIL.fullmatch(detail) or not _LOCATION.fullmatch(location):
            raise self._protocol("text")
        kind = wire.KINDS[response.kind]
        has_state = bool(response.flags & wire.HAS_STATE)
        fuel = response.fuel if response.flags & wire.HAS_FUEL else None
        if not self._fuel_fits(kind, fuel, call.limits.fuel):
            raise self._protocol("fuel")
        if kind is OutcomeKind.OK:
            try:
                check_derived(derived)
            except MalformedError as error:
                raise self._protocol("derived") from error
        elif summary or derived or alerts or has_state or kind is OutcomeKind.EXIT:
            raise self._protocol("outcome")
        return StepResult(
            outcome=Outcome(kind=kind, detail=detail.decode(), location=location.decode()),
            fuel=fuel,
            summary=summary,
            state=state if has_state else call.state,
            derived=derived,
            alerts=alerts,
            wall_ns=response.wall_ns,
        )

    @staticmethod
    def _fuel_fits(kind: OutcomeKind, fuel: int | None, budget: int) -> bool:
        if kind is OutcomeKind.OK:
            return fuel is not None and fuel <= budget
        return fuel == (budget if kind is OutcomeKind.FUEL else None)

    def _died(self) -> WorkerDiedError:
        try:
            status = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return WorkerDiedError(f"worker {self.pid} closed its link")
        how = signal.Signals(-status).name if status < 0 else f"status {status}"
        return WorkerDiedError(f"worker {self.pid} ended by {how}")

    def _protocol(self, what: str) -> FaultError:
        return WorkerDiedError(f"worker {self.pid} broke the protocol ({what}), and is not trusted any more")
