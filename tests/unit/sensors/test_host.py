"""The host driver, on the machine that runs the tests and with its counters made to misbehave."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import psutil
import pytest

from edgenode.config import SourceConfig
from edgenode.records import ClockState, Poll
from edgenode.sensors.drivers.host import HostSource

SECOND = 10**9


class TickingClock:
    """Goes on a second at each reading of the monotonic time."""

    def __init__(self) -> None:
        self.at = 0

    def now_ns(self) -> int:
        return 1_800_000_000 * SECOND + self.at

    def monotonic_ns(self) -> int:
        self.at += SECOND
        return self.at

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED


def host(**options: Any) -> HostSource:
    return HostSource("host", SourceConfig(driver="host", options=options), TickingClock())


def named(poll: Poll) -> dict[str, float]:
    return {channel.name.removeprefix("host/"): value for channel, value in poll.values}


def test_reads_this_machine() -> None:
    source = host()
    first = source._poll(0)
    second = source._poll(0)
    values = named(second)
    assert {"memory", "memory/available", "load/1m", "uptime"} <= set(values)
    assert 0 < values["memory"] < 1
    assert values["memory/available"] > 1_000_000
    assert set(named(first)) <= {channel.name.removeprefix("host/") for channel in source.channels()}
    assert {channel.unit for channel in source.channels()} <= {"/", "B", "B/s", "Cel", "s", "count"}
    assert all(channel.interval_ns == SECOND for channel in source.channels())


def test_the_channels_are_the_same_objects_in_each_poll() -> None:
    source = host(readings=["memory", "load"])
    assert all(before is after for (before, _), (after, _) in zip(source._poll(0).values, source._poll(0).values, strict=True))


class Core(NamedTuple):
    """As psutil's scputimes."""

    user: float
    idle: float
    iowait: float = 0.0
    guest: float = 0.0
    guest_nice: float = 0.0


def test_load_is_the_share_between_two_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    readings: Iterator[Any] = iter([[Core(10, 90), Core(0, 100)], [Core(11, 90), Core(0, 103)], [Core(11, 91)]])
    monkeypatch.setattr(psutil, "cpu_times", lambda percpu: next(readings))
    source = host(readings=["cpu"])
    assert named(source._poll(0)) == {}
    assert named(source._poll(0)) == {"cpu": 0.25, "cpu/0": 1.0, "cpu/1": 0.0}
    assert named(source._poll(0)) == {}  # a core went


def test_a_rate_is_per_second_of_the_monotonic_clock_and_survives_a_counter_that_starts_again(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = iter([(100, 0), (350, 10), (5, 20), (25, 20)])

    def io(pernic: bool, nowrap: bool) -> dict[str, SimpleNamespace]:
        rx, tx = next(counters)
        return {name: SimpleNamespace(bytes_recv=rx, bytes_sent=tx) for name in ("lo", "eth0.1@x y")}

    monkeypatch.setattr(psutil, "net_io_counters", io)
    source = host(readings=["network"])
    rx, tx = "net/eth0.1_x_y/rx", "net/eth0.1_x_y/tx"
    assert named(source._poll(0)) == {}
    assert named(source._poll(0)) == {rx: 250.0, tx: 10.0}
    restarted = source._poll(0)
    assert (named(restarted), restarted.dropped) == ({tx: 10.0}, 1)
    assert named(source._poll(0)) == {rx: 20.0, tx: 0.0}


def test_interfaces_that_were_asked_for_are_read_and_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = {name: SimpleNamespace(bytes_recv=1, bytes_sent=1) for name in ("lo", "eth0", "eth1", "wlan0")}
    monkeypatch.setattr(psutil, "net_io_counters", lambda pernic, nowrap: counters)
    source = host(readings=["network"], interfaces=["lo", "eth*"])
    source._poll(0)
    assert {name.split("/")[1] for name in named(source._poll(0))} == {"lo", "eth0", "eth1"}


def test_temperatures_are_named_by_chip_and_label(monkeypatch: pytest.MonkeyPatch) -> None:
    sensors = {
        "coretemp": [SimpleNamespace(label=label, current=40.0 + at) for at, label in enumerate(["Core 0", "Core 1", "Core 0"])],
        "cpu_thermal": [SimpleNamespace(label="", current=50.0)],
    }
    monkeypatch.setattr(psutil, "sensors_temperatures", lambda: sensors)
    source = host(readings=["temperature"])
    assert named(source._poll(0)) == {
        "temperature/coretemp/Core_0": 40.0,
        "temperature/coretemp/Core_1": 41.0,
        "temperature/coretemp/Core_0-2": 42.0,
        "temperature/cpu_thermal/0": 50.0,
    }
    assert {channel.unit for channel in source.channels()} == {"Cel"}


def test_a_reading_that_fails_is_counted_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", gone)
    poll = host(readings=["memory", "load"])._poll(0)
    assert set(named(poll)) == {"load/1m", "load/5m", "load/15m"}
    assert poll.dropped == 1


def test_missed_ticks_are_missed_readings() -> None:
    source = host(readings=["load"])
    source._poll(0)
    assert source._poll(2).dropped == 6
