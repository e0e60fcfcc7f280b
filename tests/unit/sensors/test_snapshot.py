"""Freezing a window of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from edgenode.clock import SystemClock
from edgenode.config import SamplesConfig
from edgenode.errors import LimitError, NoSuchChannelError
from edgenode.formats.frame import decode_frame
from edgenode.records import Channel, Completeness, Poll, Window, digest
from edgenode.sensors.samples import Samples
from edgenode.sensors.snapshot import freeze

SECOND = 10**9
LIMITS = SamplesConfig(flush_seconds=3600)
CPU, CORE, ODD = Channel("host/cpu", "/", SECOND), Channel("host/cpu/0", "/", SECOND), Channel("press/x", "V")


@pytest.fixture
def samples(tmp_path: Path) -> Iterator[Samples]:
    with closing(Samples(tmp_path / "samples.db", LIMITS, SystemClock())) as samples:
        for second in range(10):
            samples.append("host", Poll(second * SECOND, ((CORE, 1.0), (CPU, float(second))), dropped=second == 4))
        samples.append("press", Poll(3 * SECOND, ((ODD, 7.0),)))
        yield samples


def test_holds_the_channels_in_the_order_of_their_names_with_their_completeness(samples: Samples) -> None:
    window = Window(start_ns=2 * SECOND, end_ns=7 * SECOND)
    snapshot = freeze(samples, ["host/*"], window, LIMITS)
    assert snapshot.window == window
    assert snapshot.channels == ("host/cpu", "host/cpu/0")
    assert snapshot.digest == digest(snapshot.frame)
    assert snapshot.completeness == Completeness(received=10, expected=10, dropped=1)
    cpu, core = decode_frame(snapshot.frame)
    assert (cpu.channel, list(cpu.values)) == (Channel("host/cpu", "/"), [2.0, 3.0, 4.0, 5.0, 6.0])
    assert list(core.times) == [second * SECOND for second in range(2, 7)]


def test_is_the_same_from_memory_and_from_disk_and_for_any_order_of_patterns(samples: Samples) -> None:
    window = Window(start_ns=0, end_ns=20 * SECOND)
    before = freeze(samples, ["*"], window, LIMITS)
    samples.flush()
    assert freeze(samples, ["press/*", "host/cpu", "host/cpu*"], window, LIMITS) == before


def test_expects_nothing_where_an_interval_is_not_known(samples: Samples) -> None:
    snapshot = freeze(samples, ["*"], Window(start_ns=0, end_ns=5 * SECOND), LIMITS)
    assert snapshot.completeness == Completeness(received=11, expected=None, dropped=1)


def test_an_empty_window_has_an_empty_series_for_each_channel(samples: Samples) -> None:
    snapshot = freeze(samples, ["host/cpu", "press/x"], Window(start_ns=30 * SECOND, end_ns=31 * SECOND), LIMITS)
    assert [(one.channel.name, len(one)) for one in decode_frame(snapshot.frame)] == [("host/cpu", 0), ("press/x", 0)]
    assert snapshot.completeness.received == 0


@pytest.mark.parametrize("patterns", [["host/gpu"], ["gpu/*"], ["host/cpu", "host/gpu"], []])
def test_a_channel_that_is_not_there_is_named(samples: Samples, patterns: list[str]) -> None:
    with pytest.raises(NoSuchChannelError, match=r"gpu|no pattern"):
        freeze(samples, patterns, Window(start_ns=0, end_ns=1), LIMITS)


def test_a_pattern_that_fits_nothing_is_fine_where_another_fits(samples: Samples) -> None:
    assert freeze(samples, ["host/cpu", "gpu/*"], Window(start_ns=0, end_ns=1), LIMITS).channels == ("host/cpu",)


def test_a_window_with_too_many_samples_is_refused_by_the_name_of_the_limit(samples: Samples) -> None:
    with pytest.raises(LimitError) as caught:
        freeze(samples, ["host/*"], Window(start_ns=0, end_ns=20 * SECOND), SamplesConfig(window_samples=19))
    assert (caught.value.name, caught.value.limit) == ("samples.window_samples", 19)
