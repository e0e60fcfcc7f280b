"""What every source does, whatever its driver; the doubles at the top are held to it too.

Time is virtual: the loop jumps to the next timer when nothing else is left to do, so hours of backoff pass in an instant.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgenode.clock import Clock
from edgenode.config import SourceConfig
from edgenode.errors import UnreachableError
from edgenode.records import Channel, ClockState, Poll
from edgenode.sensors.blocking import Blocking
from edgenode.sensors.pace import Pace
from edgenode.sensors.registry import build
from edgenode.sensors.runner import Backoff, Health, State, run_source
from edgenode.sensors.source import Sink, Source

BEGIN_NS = 1_800_000_000 * 10**9


class JumpingSelector(selectors.DefaultSelector):
    """Waits for threads that read, but jumps over every timer."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout is None or timeout <= 0:
            return events or (super().select(5) if timeout is None else [])
        if any(thread.name.startswith("read ") for thread in threading.enumerate()):
            return super().select(0.001)
        events = super().select(0)  # what a thread left behind that ended just now
        if not events:
            self.loop.elapsed += timeout
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.elapsed = 0.0
        selector = JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.elapsed


@dataclass
class VirtualClock:
    loop: VirtualLoop
    wall_step_ns: int = 0  # how far the wall clock was set

    def now_ns(self) -> int:
        return BEGIN_NS + self.wall_step_ns + self.monotonic_ns()

    def monotonic_ns(self) -> int:
        return round(self.loop.elapsed * 1e9)

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED


class Polled:
    """A double that is polled. ``fault`` is raised instead of a reading."""

    def __init__(self, name: str, config: SourceConfig, clock: Clock) -> None:
        self.channel = Channel(f"{name}/value", "V", config.interval_ms * 10**6)
        self.clock = clock
        self.fault: Exception | None = None
        self.polls = 0

    def channels(self) -> Sequence[Channel]:
        return (self.channel,)

    async def run(self, sink: Sink) -> None:
        pace = Pace(self.clock, self.channel.interval_ns or 0)
        while True:
            missed = await pace.tick()
            if self.fault is not None:
                raise self.fault
            self.polls += 1
            sink(Poll(self.clock.now_ns(), ((self.channel, 1.0),), missed))


class Pushed:
    """A double whose readings come from elsewhere, as from a broker; its channels are known by their first messages."""

    def __init__(self, name: str, config: SourceConfig, clock: Clock) -> None:
        self.name, self.clock = name, clock
        self.interval = config.interval_ms / 1000
        self.fault: Exception | None = None
        self.known: dict[str, Channel] = {}

    def channels(self) -> Sequence[Channel]:
        return tuple(self.known.values())

    async def run(self, sink: Sink) -> None:
        queue: asyncio.Queue[str] = asyncio.Queue()
        broker = asyncio.create_task(self.publish(queue))
        try:
            while True:
                topic = await queue.get()
                if self.fault is not None:
                    raise self.fault
                channel = self.known.setdefault(topic, Channel(f"{self.name}/{topic}"))
                sink(Poll(self.clock.now_ns(), ((channel, 2.0),)))
        finally:
            broker.cancel()

    async def publish(self, queue: asyncio.Queue[str]) -> None:
        while True:
            queue.put_nowait("topic")
            await asyncio.sleep(self.interval)


@dataclass
class Case:
    """One driver under test: how to build it, and how to break and mend what it reads."""

    build: Callable[[str, Clock], Source]
    break_it: Callable[[Source], object]
    mend: Callable[[Source], object]
    interval_ns: int = 10**9


def host_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    real = psutil.virtual_memory

    def broken() -> Any:
        raise ValueError("meminfo has\nchanged")

    return Case(
        build=lambda name, clock: build(name, SourceConfig(driver="host", options={"readings": ["memory", "load"]}), clock),
        break_it=lambda _: monkeypatch.setattr(psutil, "virtual_memory", broken),
        mend=lambda _: monkeypatch.setattr(psutil, "virtual_memory", real),
    )


def replay_case(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    path = tmp_path / "recording.csv"
    path.write_text("time,a\n100,1\n101,2\n")
    options = {"path": str(path), "loop": True, "shift": True, "speed": 2.0}
    return Case(
        build=lambda name, clock: build(name, SourceConfig(driver="replay", options=options), clock),
        break_it=lambda _: path.unlink(),
        mend=lambda _: path.write_text("time,a\n100,1\n101,2\n"),
        interval_ns=500_000_000,
    )


def double_case(kind: Callable[[str, SourceConfig, Clock], Polled | Pushed]) -> Case:
    def set_fault(source: Source, fault: Exception | None) -> None:
        assert isinstance(source, Polled | Pushed)
        source.fault = fault

    return Case(
        build=lambda name, clock: kind(name, SourceConfig(driver="double"), clock),
        break_it=lambda source: set_fault(source, UnreachableError("no answer")),
        mend=lambda source: set_fault(source, None),
    )


CASES: dict[str, Callable[[Path, pytest.MonkeyPatch], Case]] = {
    "host": host_case,
    "replay": replay_case,
    "polled": lambda *_: double_case(Polled),
    "pushed": lambda *_: double_case(Pushed),
}


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return CASES[request.param](tmp_path, monkeypatch)


@dataclass
class Bench:
    """A source under its runner, with what came out of it."""

    source: Source
    clock: VirtualClock
    polls: list[Poll] = field(default_factory=list)
    times: list[int] = field(default_factory=list)  # when each poll came, monotonic ns
    health: Health = field(default_factory=Health)
    task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self.task = asyncio.create_task(run_source(self.source, self.take, self.health, self.clock))

    def take(self, poll: Poll) -> None:
        self.polls.append(poll)
        self.times.append(self.clock.monotonic_ns())

    async def stop(self) -> None:
        assert self.task is not None
        self.task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await self.task


def bench_of(case: Case, name: str = "s") -> Bench:
    clock = current_clock()
    return Bench(case.build(name, clock), clock)


def current_clock() -> VirtualClock:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    return VirtualClock(loop)


def virtually(test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        await test()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(main())


async def until(condition: Callable[[], bool], most_seconds: float = 600) -> None:
    """Wait, in virtual time."""
    async with asyncio.timeout(most_seconds):
        while not condition():  # noqa: ASYNC110 - of many things, and the time costs nothing
            await asyncio.sleep(0.05)


def test_delivers_polls_of_the_channels_it_names(case: Case) -> None:
    async def test() -> None:
        bench = bench_of(case)
        bench.start()
        await until(lambda: len(bench.polls) >= 3)
        await bench.stop()
        named = set(bench.source.channels())
        for poll in bench.polls:
            assert {channel for channel, _ in poll.values} <= named
            assert poll.values
        assert all(channel.name.startswith("s/") for channel in named)

    virtually(test)


def test_keeps_a_steady_pace_while_the_wall_clock_is_set(case: Case) -> None:
    async def test() -> None:
        bench = bench_of(case)
        bench.start()
        await until(lambda: len(bench.times) >= 4)
        bench.clock.wall_step_ns = -3600 * 10**9
        await until(lambda: len(bench.times) >= 12)
        await bench.stop()
        distances = {after - before for before, after in zip(bench.times, bench.times[1:], strict=False)}
        # The replayed recording ends after two rows; the next pass begins at once.
        assert distances - {0} and all(abs(distance - case.interval_ns) < 10**6 for distance in distances - {0})

    virtually(test)


def test_starts_without_its_device_and_finds_it_later(case: Case) -> None:
    async def test() -> None:
        bench = bench_of(case)
        case.break_it(bench.source)
        bench.start()
        await until(lambda: bench.health.errors >= 3)
        await until(lambda: bench.health.state is State.BACKING_OFF)
        assert not bench.polls
        case.mend(bench.source)
        await until(lambda: bench.health.state is State.RUNNING)
        assert bench.polls
        await bench.stop()

    virtually(test)


def test_survives_a_failure_and_says_what_to_do_in_one_line(case: Case) -> None:
    async def test() -> None:
        bench = bench_of(case)
        bench.start()
        await until(lambda: bench.health.polls >= 2)
        case.break_it(bench.source)
        await until(lambda: bench.health.errors >= 1)
        assert bench.health.last_error
        assert "\n" not in bench.health.last_error
        assert bench.health.last_error.endswith(")")  # the hint
        case.mend(bench.source)
        before = bench.health.polls
        await until(lambda: bench.health.polls > before + 2)
        await bench.stop()

    virtually(test)


def test_stops_at_once_while_running_and_while_backing_off(case: Case) -> None:
    async def test() -> None:
        running, broken = bench_of(case), bench_of(case)
        running.start()
        await until(lambda: running.health.polls >= 1)
        began = time.perf_counter(), running.clock.monotonic_ns()
        await running.stop()
        case.break_it(broken.source)
        broken.start()
        await until(lambda: broken.health.state is State.BACKING_OFF)
        await broken.stop()
        assert time.perf_counter() - began[0] < 1
        assert len(asyncio.all_tasks()) == 1

    virtually(test)


def test_health_counts_what_came(case: Case) -> None:
    async def test() -> None:
        bench = bench_of(case)
        assert bench.health.state is State.STARTING
        bench.start()
        await until(lambda: bench.health.polls >= 3)
        await bench.stop()
        health = bench.health
        assert health.polls == len(bench.polls)
        assert health.samples == sum(len(poll.values) for poll in bench.polls)
        assert health.dropped == sum(poll.dropped for poll in bench.polls)
        assert health.errors == 0 and health.last_error == ""
        assert health.last_seen_ns is not None and health.last_seen_ns >= BEGIN_NS

    virtually(test)


def test_does_not_touch_the_device_when_built(case: Case) -> None:
    async def test() -> None:
        clock = current_clock()
        case.break_it(case.build("s", clock))
        case.build("again", clock)

    virtually(test)


# The runner and its parts, with sources that misbehave.


class Scripted:
    """Does what it is told, run by run."""

    def __init__(self, *runs: Callable[[Sink], Awaitable[None]]) -> None:
        self.runs = list(runs)
        self.started: list[int] = []
        self.clock = current_clock()

    def channels(self) -> Sequence[Channel]:
        return ()

    async def run(self, sink: Sink) -> None:
        self.started.append(self.clock.monotonic_ns())
        await self.runs.pop(0)(sink)


async def fail(_: Sink) -> None:
    raise RuntimeError("broken")


async def deliver_and_fail(sink: Sink) -> None:
    sink(Poll(1, ((Channel("s/a"), 1.0),)))
    raise RuntimeError("broken")


async def finish(_: Sink) -> None:
    return None


async def hang(_: Sink) -> None:
    await asyncio.Event().wait()


async def leak_a_cancellation(_: Sink) -> None:
    raise asyncio.CancelledError


def test_backoff_doubles_to_its_bound_and_starts_over_after_a_poll() -> None:
    async def test() -> None:
        source = Scripted(*[fail] * 12, deliver_and_fail, finish)
        health = Health()
        await run_source(source, lambda _: None, health, source.clock, Backoff(first=1, most=60))
        waits = [(after - before) / 1e9 for before, after in zip(source.started, source.started[1:], strict=False)]
        for failures, wait in enumerate(waits[:12]):
            assert min(60, 2**failures) / 2 <= wait <= min(60, 2**failures) + 0.001
        assert waits[12] <= 1.001
        assert health.state is State.FINISHED
        assert health.errors == 13

    virtually(test)


def test_a_cancellation_that_the_driver_lets_escape_is_only_an_error() -> None:
    async def test() -> None:
        source = Scripted(leak_a_cancellation, finish)
        health = Health()
        await run_source(source, lambda _: None, health, source.clock)
        assert (health.errors, health.state) == (1, State.FINISHED)

    virtually(test)


def test_a_hanging_a_failing_and_a_flooding_source_do_not_delay_another() -> None:
    async def flood(sink: Sink) -> None:
        while True:
            for _ in range(100):
                sink(Poll(1, ((Channel("s/a"), 1.0),)))
            await asyncio.sleep(0.001)

    async def test() -> None:
        good = bench_of(double_case(Polled))
        good.start()
        others = [
            asyncio.create_task(run_source(source, lambda _: None, Health(), good.clock))
            for source in (Scripted(hang), Scripted(*[fail] * 100), Scripted(flood))
        ]
        await asyncio.sleep(20.5)
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await good.stop()
        assert good.times == [second * 10**9 for second in range(21)]

    virtually(test)


def test_a_missed_tick_is_skipped_and_counted_not_bunched() -> None:
    async def test() -> None:
        clock = current_clock()
        pace = Pace(clock, 10**9)
        seen = []
        for busy in (0, 0.4, 2.5, 0.9, 1.0, 0):
            missed = await pace.tick()
            seen.append((clock.monotonic_ns() / 1e9, missed))
            await asyncio.sleep(busy)
        assert seen == [(0, 0), (1, 0), (2, 0), (5, 2), (6, 0), (7, 0)]

    virtually(test)


async def test_a_read_that_hangs_is_given_up_and_not_doubled() -> None:
    blocking = Blocking("plc", 0.02)
    release, entered = threading.Event(), threading.Event()

    def read() -> int:
        entered.set()
        release.wait(10)
        return 1

    with pytest.raises(TimeoutError, match="no answer within"):
        await blocking.call(read)
    assert entered.is_set()
    with pytest.raises(TimeoutError, match="still hangs"):
        await blocking.call(lambda: 2)
    release.set()
    for thread in threading.enumerate():
        if thread.name == "read plc":
            thread.join(5)
    assert await blocking.call(lambda: 3) == 3


async def test_a_blocking_read_passes_on_what_it_raises() -> None:
    def read() -> None:
        raise TimeoutError("the bus is silent")

    with pytest.raises(TimeoutError, match="the bus is silent"):
        await Blocking("plc", 5).call(read)
