"""This machine's own readings: load, memory, swap, disk, network, temperatures, uptime.

    [sources.host]
    driver = "host"
    interval_ms = 1000
    readings = ["cpu", "memory"]      # default: all of them
    interfaces = ["eth*", "wlan0"]    # default: all but the loopback

Channels are named below the source: host/cpu, host/cpu/0, host/memory/available, host/net/eth0/rx. Units are SenML's (RFC 8428 §12.1):
shares are ratios from 0 to 1 (unit "/": the registry advises against "%"); rates have the registry's secondary unit "B/s" (RFC 8798).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType

from edgenode.clock import Clock
from edgenode.config import SourceConfig, build, unknown_key
from edgenode.records import Channel, Poll, matches_any
from edgenode.sensors.blocking import Blocking
from edgenode.sensors.pace import Pace
from edgenode.sensors.source import Sink

_READ_SECONDS = 10.0  # a temperature sensor behind a stuck bus can hang its reader
_LOOPBACK = "lo"
_UPTIME = Path("/proc/uptime")
_UNFIT = re.compile(r"[^A-Za-z0-9:._-]+")  # what a kernel's label may have and a channel's name may not


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    readings: tuple[str, ...] = ()
    interfaces: tuple[str, ...] = ()


class HostSource:
    """A driver of edgenode.sensors.source."""

    def __init__(self, name: str, config: SourceConfig, clock: Clock) -> None:
        readings: dict[str, Callable[[ModuleType], None]] = {
            "cpu": self._cpu,
            "load": self._load,
            "memory": self._memory,
            "swap": self._swap,
            "disk": self._disk,
            "network": self._network,
            "temperature": self._temperature,
            "uptime": self._uptime,
        }
        options = build(HostOptions, config.options, f"sources.{name}")
        for reading in options.readings:
            if reading not in readings:
                raise unknown_key(f"{reading!r} in sources.{name}.readings", reading, list(readings))
        self._readings = [readings[reading] for reading in options.readings or readings]
        self._interfaces = options.interfaces
        self._name = name
        self._clock = clock
        self._interval_ns = config.interval_ms * 1_000_000
        self._blocking = Blocking(name, _READ_SECONDS)
        self._channels: dict[str, Channel] = {}  # by their name below the source
        # What one poll gathers. Blocking lets one run at a time, so its thread has them to itself.
        self._values: list[tuple[Channel, float]] = []
        self._dropped = 0
        self._at_ns = 0
        self._counters: dict[str, tuple[float, int]] = {}  # name -> value, and when it was read (monotonic ns)
        self._counters_before: dict[str, tuple[float, int]] = {}
        self._cpu_before: list[tuple[float, float]] = []  # of each core: busy and all seconds

    def channels(self) -> Sequence[Channel]:
        return tuple(self._channels.values())

    async def run(self, sink: Sink) -> None:
        self._counters_before, self._cpu_before = {}, []  # no rates over the time that the source was down
        pace = Pace(self._clock, self._interval_ns)
        while True:
            missed = await pace.tick()
            sink(await self._blocking.call(partial(self._poll, missed)))

    def _poll(self, missed: int) -> Poll:
        import psutil  # on the first poll, off the loop: no start waits for it

        self._values, self._counters = [], {}
        self._dropped = missed * len(self._channels)
        time_ns, self._at_ns = self._clock.now_ns(), self._clock.monotonic_ns()
        for reading in self._readings:
            try:
                reading(psutil)
            except (OSError, psutil.Error):
                self._dropped += 1
        self._counters_before = self._counters
        return Poll(time_ns, tuple(self._values), self._dropped)

    def _cpu(self, psutil: ModuleType) -> None:
        now = []
        for core in psutil.cpu_times(percpu=True):
            # Linux counts a guest's time in user and nice as well.
            whole = sum(core) - core.guest - core.guest_nice
            now.append((whole - core.idle - core.iowait, whole))
        before, self._cpu_before = self._cpu_before, now
        if len(before) != len(now):  # the first poll, or a core came or went
            return
        busy = [after[0] - earlier[0] for earlier, after in zip(before, now, strict=True)]
        whole_times = [after[1] - earlier[1] for earlier, after in zip(before, now, strict=True)]
        self._share("cpu", sum(busy), sum(whole_times))
        for core_index, (core_busy, core_whole) in enumerate(zip(busy, whole_times, strict=True)):
            self._share(f"cpu/{core_index}", core_busy, core_whole)

    def _load(self, _: ModuleType) -> None:
        for minutes, load in zip((1, 5, 15), os.getloadavg(), strict=True):
            self._put(f"load/{minutes}m", "count", load)

    def _memory(self, psutil: ModuleType) -> None:
        memory = psutil.virtual_memory()
        self._share("memory", memory.total - memory.available, memory.total)
        self._put("memory/available", "B", memory.available)

    def _swap(self, psutil: ModuleType) -> None:
        swap = psutil.swap_memory()
        if swap.total:
            self._share("swap", swap.used, swap.total)

    def _disk(self, psutil: ModuleType) -> None:
        # None on a machine without disks. nowrap off: a counter that starts again is seen here, in _rate.
        counters = psutil.disk_io_counters(nowrap=False)
        if counters is not None:
            self._rate("disk/read", counters.read_bytes)
            self._rate("disk/write", counters.write_bytes)

    def _network(self, psutil: ModuleType) -> None:
        for interface, counters in psutil.net_io_counters(pernic=True, nowrap=False).items():
            if matches_any(self._interfaces, interface) if self._interfaces else interface != _LOOPBACK:
                self._rate(f"net/{_fit(interface)}/rx", counters.bytes_recv)
                self._rate(f"net/{_fit(interface)}/tx", counters.bytes_sent)

    def _temperature(self, psutil: ModuleType) -> None:
        for chip, sensors in psutil.sensors_temperatures().items():
            taken: set[str] = set()
            for index, sensor in enumerate(sensors):
                label = _fit(sensor.label) or str(index)
                if label in taken:  # two of the same chip
                    label = f"{label}-{index}"
                taken.add(label)
                self._put(f"temperature/{_fit(chip)}/{label}", "Cel", sensor.current)

    def _uptime(self, _: ModuleType) -> None:
        self._put("uptime", "s", float(_UPTIME.read_text(encoding="ascii").split()[0]))

    def _put(self, name: str, unit: str, value: float) -> None:
        channel = self._channels.get(name)
        if channel is None:
            channel = Channel(f"{self._name}/{name}", unit, self._interval_ns)
            self._channels = {**self._channels, name: channel}  # replaced, not changed: the loop may be listing them
        self._values.append((channel, float(value)))

    def _share(self, name: str, part: float, whole: float) -> None:
        if whole <= 0:  # two polls within one tick of the kernel's accounting
            self._dropped += 1
        else:
            self._put(name, "/", min(1.0, max(0.0, part / whole)))  # the kernel's idle and iowait can go back a little

    def _rate(self, name: str, counter: float) -> None:
        self._counters[name] = (counter, self._at_ns)
        before = self._counters_before.get(name)
        if before is None:
            return
        value, at_ns = before
        if counter < value or self._at_ns <= at_ns:  # the counter started again: a rate over that would be invented
            self._dropped += 1
        else:
            self._put(name, "B/s", (counter - value) * 1e9 / (self._at_ns - at_ns))


def _fit(label: str) -> str:
    return _UNFIT.sub("_", label).strip("_")
