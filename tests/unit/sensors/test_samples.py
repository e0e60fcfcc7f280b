"""The store of samples: what goes in comes out, whatever the order, the disk or the moment."""

from __future__ import annotations

import array
import asyncio
import itertools
import math
import os
import sqlite3
import struct
import subprocess
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.config import SamplesConfig
from edgenode.errors import LimitError, MalformedError, NoSuchChannelError, StorageError, StorageFullError
from edgenode.records import MAX_INT, Channel, ClockState, Poll, Series, Window
from edgenode.sensors.chunks import StepKey
from edgenode.sensors.samples import HELD_BYTES, Samples

SECOND = 10**9
DAY = 86_400 * SECOND
ALWAYS = Window(start_ns=0, end_ns=2**63)
A, B, C = Channel("s/a", "V"), Channel("s/b"), Channel("s/c", "Cel")
NEVER = SamplesConfig(flush_seconds=3600)


@dataclass
class StillClock:
    now: int = 1_800_000_000 * SECOND
    clock_state: ClockState = ClockState.SYNCHRONISED

    def now_ns(self) -> int:
        return self.now

    def monotonic_ns(self) -> int:
        return 0

    def state(self) -> ClockState:
        return self.clock_state


@contextmanager
def opened(folder: Path, config: SamplesConfig = NEVER, clock: StillClock | None = None, held_bytes: int = HELD_BYTES) -> Iterator[Samples]:
    with closing(Samples(folder / "samples.db", config, clock or StillClock(), held_bytes=held_bytes)) as samples:
        yield samples


def poll(time_ns: int, *values: tuple[Channel, float], dropped: int = 0) -> Poll:
    return Poll(time_ns, values, dropped)


def rows(samples: Samples, name: str, window: Window = ALWAYS) -> list[tuple[int, float]]:
    (series,) = samples.read([name], window)
    return list(zip(series.times, series.values, strict=True))


def chunk_counts(folder: Path) -> list[int]:
    with closing(sqlite3.connect(folder / "samples.db")) as db:
        return [count for (count,) in db.execute("SELECT count FROM chunk ORDER BY id")]


# Properties

EXTREMES = [0, 1, SECOND, 4_291_747_200 * SECOND, MAX_INT - 1, MAX_INT]  # 1970, 2106 and the ends of an i64
TIMES = st.one_of(st.integers(0, 12), st.sampled_from(EXTREMES), st.integers(0, MAX_INT))
VALUES = st.one_of(st.floats(), st.sampled_from([math.nan, -math.nan, math.inf, -math.inf, -0.0, 5e-324]))
POLLS = st.tuples(
    st.sampled_from(["one", "two"]),
    TIMES,
    st.dictionaries(st.sampled_from([A, B, C]), VALUES, min_size=1).map(lambda values: tuple(values.items())),
)
STEPS = st.lists(st.one_of(POLLS, POLLS, POLLS, st.sampled_from(["flush", "reopen"])), max_size=40)


def bits(times_and_values: Iterator[tuple[int, float]]) -> list[tuple[int, bytes]]:
    return [(time, struct.pack("<d", value)) for time, value in times_and_values]


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, chunk=st.integers(1, 6), start=TIMES, length=TIMES)
def test_what_goes_in_comes_out(steps: list[object], chunk: int, start: int, length: int) -> None:
    window = Window(start_ns=start, end_ns=start + length)
    config = SamplesConfig(flush_seconds=3600, chunk_samples=chunk)
    expected: dict[str, dict[int, float]] = {}
    with TemporaryDirectory() as folder:
        samples = Samples(Path(folder) / "samples.db", config, StillClock())
        try:
            for step in steps:
                if step == "flush":
                    samples.flush()
                elif step == "reopen":
                    samples.close()
                    samples = Samples(Path(folder) / "samples.db", config, StillClock())
                else:
                    assert isinstance(step, tuple)
                    source, time, values = step
                    samples.append(source, Poll(time, values))
                    for channel, value in values:
                        expected.setdefault(channel.name, {})[time] = value
            for within in (ALWAYS, window):
                for series in samples.read(sorted(expected), within):
                    whole = sorted(expected[series.channel.name].items())
                    assert bits(zip(series.times, series.values, strict=True)) == bits(
                        (time, value) for time, value in whole if within.start_ns <= time < within.end_ns
                    )
            assert [channel.name for channel in samples.known()] == sorted(expected)
            for known in samples.channels():
                times = sorted(expected[known.channel.name])
                assert (known.first_ns, known.last_ns) == (times[0], times[-1])
                assert struct.pack("<d", known.last_value) == struct.pack("<d", expected[known.channel.name][times[-1]])
        finally:
            samples.close()


# Gathering and chunks


def test_times_of_a_polled_source_are_cut_to_the_millisecond_and_never_into_the_next_window(tmp_path: Path) -> None:
    slow, fast = Channel("s/slow", interval_ns=SECOND), Channel("s/fast", interval_ns=312_500)
    with opened(tmp_path) as samples:
        samples.append("slow", poll(2 * SECOND - 1, (slow, 1.0)))
        samples.append("fast", poll(312_500, (fast, 1.0)))
        samples.append("fast", poll(625_000, (fast, 2.0)))
        assert rows(samples, "s/slow") == [(2 * SECOND - 1_000_000, 1.0)]
        assert rows(samples, "s/fast") == [(312_500, 1.0), (625_000, 2.0)]


def test_small_chunks_are_merged_into_full_ones(tmp_path: Path) -> None:
    with opened(tmp_path, SamplesConfig(flush_seconds=3600, chunk_samples=100)) as samples:
        for time in range(250):
            samples.append("s", poll(time, (A, float(time)), (B, -1.0), dropped=time % 50 == 0))
            if time % 10 == 9:
                samples.flush()
        assert chunk_counts(tmp_path) == [100, 100, 10, 10, 10, 10, 10]
        selection = samples.select(["s/a"], ALWAYS)
        assert list(selection.series[0].times) == list(range(250))
        assert list(selection.series[0].values) == list(map(float, range(250)))
        assert selection.dropped == 5


def test_merging_does_not_let_an_older_sample_win(tmp_path: Path) -> None:
    with opened(tmp_path, SamplesConfig(flush_seconds=3600, chunk_samples=2)) as samples:
        samples.append("s", poll(5, (A, 1.0)))
        samples.flush()
        samples.append("s", poll(5, (A, 2.0), (B, 2.0)))
        samples.flush()
        samples.append("s", poll(6, (A, 3.0)))
        samples.flush()
        assert rows(samples, "s/a") == [(5, 2.0), (6, 3.0)]


def test_a_full_chunk_is_written_at_once_and_the_rest_after_flush_seconds(tmp_path: Path) -> None:
    with opened(tmp_path, SamplesConfig(flush_seconds=0.05, chunk_samples=1000)) as samples:
        samples.append("s", poll(1, (A, 1.0)))
        wait_for(lambda: samples.health().written == 1)
    with opened(tmp_path, SamplesConfig(flush_seconds=3600, chunk_samples=10)) as samples:
        for time in range(15):
            samples.append("t", poll(time, (B, 1.0)))
        wait_for(lambda: samples.health().written == 10)
        assert samples.health().held == 5


def wait_for(condition: object) -> None:
    assert callable(condition)
    tick = threading.Event()
    for _ in range(1000):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("it never came")


def test_a_time_outside_an_i64_is_dropped_and_counted(tmp_path: Path) -> None:
    with opened(tmp_path) as samples:
        samples.append("s", poll(-1, (A, 1.0)))
        samples.append("s", poll(2**63, (A, 1.0), (B, 1.0)))
        assert (samples.health().dropped, samples.known()) == (3, [])


def test_a_value_that_is_no_number_changes_nothing(tmp_path: Path) -> None:
    with opened(tmp_path) as samples:
        samples.append("s", poll(1, (A, 1.0), (B, 1.0)))
        with pytest.raises(TypeError):
            samples.append("s", poll(2, (A, 1.0), (B, "hot")))  # type: ignore[arg-type]
        samples.append("s", poll(3, (A, 3.0), (B, 3.0)))
        assert rows(samples, "s/b") == [(1, 1.0), (3, 3.0)]


@pytest.mark.parametrize(
    "channel", [Channel("a b"), Channel(""), Channel("a", "\n"), Channel("a" * 129), Channel("a", "V", 2**63), Channel("a", "V", 0)]
)
def test_a_channel_that_no_frame_can_carry_is_refused(tmp_path: Path, channel: Channel) -> None:
    with opened(tmp_path) as samples:
        with pytest.raises(MalformedError):
            samples.append("s", poll(1, (channel, 1.0)))
        with pytest.raises(MalformedError, match="twice"):
            samples.append("s", poll(1, (A, 1.0), (A, 2.0)))


def test_failed_readings_count_for_the_windows_they_fall_in(tmp_path: Path) -> None:
    with opened(tmp_path) as samples:
        samples.append("s", poll(10, (A, 1.0), dropped=1))
        samples.append("s", poll(20, dropped=2))  # nothing answered at all
        samples.append("other", poll(20, (B, 1.0), dropped=8))
        for _ in range(2):  # in memory, then in chunks
            assert samples.select(["s/a"], Window(start_ns=0, end_ns=20)).dropped == 1
            assert samples.select(["s/a"], Window(start_ns=0, end_ns=21)).dropped == 3
            assert samples.select(["s/b"], ALWAYS).dropped == 8
            samples.flush()


def test_reads_are_bounded_and_name_the_limit(tmp_path: Path) -> None:
    with opened(tmp_path) as samples:
        for time in range(10):
            samples.append("s", poll(time, (A, 1.0), (B, 1.0)))
        assert len(samples.select(["s/a"], ALWAYS, most=10).series[0]) == 10
        with pytest.raises(LimitError, match=r"samples.window_samples is 19"):
            samples.select(["s/a", "s/b"], ALWAYS, most=19)
        with pytest.raises(NoSuchChannelError):
            samples.read(["s/none"], ALWAYS)


def test_the_newest_unit_of_a_channel_is_told(tmp_path: Path) -> None:
    with opened(tmp_path) as samples:
        samples.append("s", poll(1, (Channel("s/a", "V"), 1.0)))
        samples.append("s", poll(2, (Channel("s/a", "A"), 2.0)))
        assert samples.known() == [Channel("s/a", "A")]
        assert rows(samples, "s/a") == [(1, 1.0), (2, 2.0)]
    with opened(tmp_path) as samples:
        assert samples.known() == [Channel("s/a", "A")]


# Derived samples


def derived(*times_and_values: tuple[int, float], name: str = "d/mean") -> Series:
    times, values = zip(*times_and_values, strict=True)
    return Series(Channel(name, "V"), array.array("q", times), array.array("d", values))


def test_derived_samples_are_applied_once_also_after_a_restart(tmp_path: Path) -> None:
    key = StepKey(b"job", 7, 0)
    with opened(tmp_path) as samples:
        assert samples.append_series("job", [derived((1, 1.0)), derived((1, 5.0), name="d/max")], key)
        assert not samples.append_series("job", [derived((1, 2.0))], key)
    with opened(tmp_path) as samples:
        assert not samples.append_series("job", [derived((1, 3.0))], key)
        assert samples.append_series("job", [derived((2, 3.0))], StepKey(b"job", 8, 0))
        assert rows(samples, "d/mean") == [(1, 1.0), (2, 3.0)]
        assert rows(samples, "d/max") == [(1, 5.0)]


def test_a_higher_revision_replaces_a_lower_one_and_never_the_other_way(tmp_path: Path) -> None:
    with opened(tmp_path) as samples:
        assert samples.append_series("job", [derived((1, 2.0))], StepKey(b"job", 7, 1))
        assert not samples.append_series("job", [derived((1, 1.0))], StepKey(b"job", 7, 0))
        assert samples.append_series("job", [derived((1, 3.0))], StepKey(b"job", 7, 2))
        assert rows(samples, "d/mean") == [(1, 3.0)]


def test_derived_samples_that_a_guest_ordered_oddly_are_put_in_order(tmp_path: Path) -> None:
    with opened(tmp_path) as samples:
        assert samples.append_series("job", [derived((-5, 0.0), (3, 1.0), (3, 2.0))], StepKey(b"job", 1, 0))
        assert rows(samples, "d/mean") == [(3, 2.0)]
        assert samples.health().dropped == 1


# Retention


def test_the_oldest_chunks_go_when_the_database_is_too_large(tmp_path: Path) -> None:
    config = SamplesConfig(flush_seconds=3600, chunk_samples=1000, bytes=300_000)
    with opened(tmp_path, config) as samples:
        for time in range(60_000):
            samples.append("s", poll(time, (A, 1.0)))
            if time % 1000 == 999:
                samples.flush()
        assert samples.health().bytes <= 300_000
        kept = rows(samples, "s/a")
        assert [time for time, _ in kept] == list(range(60_000 - len(kept), 60_000))
        assert len(kept) > 10_000
        assert samples.channels()[0].first_ns == kept[0][0]


def test_old_chunks_go_by_when_they_were_written_and_only_by_a_clock_that_is_known(tmp_path: Path) -> None:
    clock = StillClock()
    with opened(tmp_path, SamplesConfig(flush_seconds=3600, days=2), clock) as samples:
        samples.append("s", poll(5, (A, 1.0)))  # a recording of long ago
        samples.append_series("job", [derived((5, 1.0))], StepKey(b"job", 1, 0))
        samples.flush()
        clock.now += 3 * DAY
        clock.clock_state = ClockState.UNKNOWN
        assert samples.retire() == 0
        clock.clock_state = ClockState.ESTIMATED
        assert samples.retire() == 2
        assert rows(samples, "s/a") == []
        assert samples.append_series("job", [derived((5, 1.0))], StepKey(b"job", 1, 0))  # its key went too
    with opened(tmp_path, clock=clock) as samples:
        assert [channel.name for channel in samples.known()] == ["d/mean"]


def test_one_call_of_retire_does_bounded_work(tmp_path: Path) -> None:
    clock = StillClock()
    with opened(tmp_path, SamplesConfig(flush_seconds=3600, days=2, chunk_samples=1), clock) as samples:
        for time in range(200):
            samples.append("s", poll(time, (A, 1.0)))
        samples.flush()
        clock.now += 3 * DAY
        calls = list(itertools.takewhile(bool, iter(samples.retire, -1)))
        assert sum(calls) == 200
        assert max(calls) <= 64


# Faults


@pytest.mark.parametrize("damage", ["not a database", "torn", "not ours"])
def test_a_damaged_database_is_set_aside_and_a_new_one_begun(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "samples.db"
    with opened(tmp_path) as samples:
        for time in range(5000):
            samples.append("s", poll(time, (A, 1.0)))
    if damage == "not a database":
        path.write_bytes(b"garbage" * 1000)
    elif damage == "torn":
        os.truncate(path, path.stat().st_size // 2)
    else:
        with closing(sqlite3.connect(path)) as db:
            db.execute("DROP TABLE channel")
            db.commit()
    harmed = path.read_bytes()
    with opened(tmp_path) as samples:
        aside = samples.health().set_aside
        assert aside is not None
        assert aside.read_bytes() == harmed
        assert samples.known() == []
        samples.append("s", poll(1, (A, 2.0)))
        samples.flush()
        assert rows(samples, "s/a") == [(1, 2.0)]
    with opened(tmp_path) as samples:
        assert samples.health().set_aside is None
        assert rows(samples, "s/a") == [(1, 2.0)]


def test_damage_that_shows_only_later_is_told_and_mended_by_the_next_flush(tmp_path: Path) -> None:
    path = tmp_path / "samples.db"
    with opened(tmp_path) as samples:
        for time in range(50_000):
            samples.append("s", poll(time, (A, 1.0)))
    with path.open("r+b") as file:
        file.seek(40_960)
        file.write(os.urandom(path.stat().st_size - 40_960))
    with opened(tmp_path) as samples:
        assert samples.health().set_aside is None
        with pytest.raises(StorageError):
            samples.read(["s/a"], ALWAYS)
        samples.append("s", poll(1, (A, 2.0)))
        samples.flush()
        assert samples.health().set_aside == tmp_path / "samples.db.damaged"
        assert rows(samples, "s/a") == [(1, 2.0)]


def test_a_database_of_a_later_version_is_left_as_it_is(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "samples.db")) as db:
        db.execute("PRAGMA user_version = 99")
    before = (tmp_path / "samples.db").read_bytes()
    with pytest.raises(StorageError, match="schema 99"):
        Samples(tmp_path / "samples.db", NEVER, StillClock())
    assert (tmp_path / "samples.db").read_bytes() == before


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="unable to open"):
        Samples(tmp_path / "none" / "samples.db", NEVER, StillClock())


def fill_up(samples: Samples) -> None:
    db = samples._chunks._db
    db.execute(f"PRAGMA max_page_count = {db.execute('PRAGMA page_count').fetchone()[0]}")


def make_room(samples: Samples) -> None:
    samples._chunks._db.execute("PRAGMA max_page_count = 1000000")


def test_a_full_disk_keeps_samples_in_memory_and_loses_none_of_them(tmp_path: Path) -> None:
    with opened(tmp_path, SamplesConfig(flush_seconds=3600, chunk_samples=1000)) as samples:
        fill_up(samples)
        for time in range(5000):
            samples.append("s", poll(time, (A, float(time))))
        with pytest.raises(StorageFullError):
            samples.flush()
        with pytest.raises(StorageFullError):
            samples.append_series("job", [derived(*((time, 1.0) for time in range(5000)))], StepKey(b"job", 1, 0))
        health = samples.health()
        assert isinstance(health.error, StorageFullError)
        assert (health.held, health.dropped, health.written) == (5000, 0, 0)
        assert len(rows(samples, "s/a")) == 5000
        make_room(samples)
        samples.flush()
        assert samples.append_series("job", [derived((1, 1.0))], StepKey(b"job", 1, 0))
        health = samples.health()
        assert (health.error, health.held, health.written) == (None, 0, 5001)
        assert [value for _, value in rows(samples, "s/a")] == list(map(float, range(5000)))


def test_a_disk_that_stays_full_costs_the_oldest_samples_and_counts_them(tmp_path: Path) -> None:
    with opened(tmp_path, SamplesConfig(flush_seconds=3600, chunk_samples=1000), held_bytes=4 * 16_000) as samples:
        fill_up(samples)
        for time in range(20_000):
            samples.append("s", poll(time, (A, 1.0)))
            if time % 1000 == 999:
                with pytest.raises(StorageFullError):
                    samples.flush()
        assert [time for time, _ in rows(samples, "s/a")] == list(range(16_000, 20_000))
        assert samples.health().dropped == 16_000
        make_room(samples)


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_file_system_that_is_really_full(tmp_path: Path) -> None:
    try:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this root may not mount a tmpfs")
    try:
        with opened(tmp_path, SamplesConfig(flush_seconds=3600, chunk_samples=1000)) as samples:
            with pytest.raises(StorageError):
                for time in range(40_000):
                    samples.append("s", poll(time, (A, float(time))))
                    if time % 1000 == 999:
                        samples.flush()
            assert samples.health().error is not None
            assert len(rows(samples, "s/a")) == time + 1
            subprocess.run(["mount", "-o", "remount,size=8m", str(tmp_path)], check=True)
            samples.flush()
            assert samples.health().held == 0
            assert len(rows(samples, "s/a")) == time + 1
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


# Threads


async def test_reading_threads_see_every_sample_once_while_the_loop_appends(tmp_path: Path) -> None:
    appended = 0
    stop = threading.Event()

    def read(samples: Samples) -> int:
        reads = 0
        while not stop.is_set():
            before = appended
            selection = samples.select(["s/a", "s/b"], ALWAYS)
            after = appended
            for series in selection.series:
                count = len(series)
                assert before <= count <= after + 1
                assert list(series.times) == list(range(count))
                assert list(series.values) == list(map(float, range(count)))
            assert before // 10 <= selection.dropped <= after // 10 + 1
            reads += 1
        return reads

    with opened(tmp_path, SamplesConfig(flush_seconds=0.001, chunk_samples=50)) as samples:
        samples.append("s", poll(0, (A, 0.0), (B, 0.0), dropped=1))
        appended = 1
        readers = [asyncio.create_task(asyncio.to_thread(read, samples)) for _ in range(2)]
        for time in range(1, 20_000):
            samples.append("s", poll(time, (A, float(time)), (B, float(time)), dropped=time % 10 == 0))
            appended = time + 1
            if time % 20 == 0:
                await asyncio.sleep(0)
        stop.set()
        assert all(reads > 0 for reads in await asyncio.gather(*readers))
        samples.flush()
        assert len(rows(samples, "s/a")) == 20_000
