"""The replay driver, with made-up recordings and a real one."""

from __future__ import annotations

import csv
import math
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from edgenode.clock import SystemClock
from edgenode.config import SamplesConfig, SourceConfig
from edgenode.errors import ConfigError, MalformedError
from edgenode.records import Channel, Poll, Window
from edgenode.sensors.drivers.replay import ReplaySource, parse_time
from edgenode.sensors.samples import Samples

SECOND = 10**9
NAB = Path(__file__).parents[3] / "../shared/data/nab"


async def play(path: Path, text: str | None = None, **options: Any) -> list[Poll]:
    if text is not None:
        path.write_text(text)  # noqa: ASYNC240 - a test's own file
    source = ReplaySource("s", SourceConfig(driver="replay", options={"path": str(path), "speed": 0.0, **options}), SystemClock())
    polls: list[Poll] = []
    await source.run(polls.append)
    return polls


def plain(polls: list[Poll]) -> list[tuple[int, dict[str, float], int]]:
    return [(poll.time_ns, {channel.name: value for channel, value in poll.values}, poll.dropped) for poll in polls]


async def test_plays_every_other_column_by_its_name(tmp_path: Path) -> None:
    polls = await play(tmp_path / "a.csv", "\ufefftime,x,y\n1,1.5,2\n2.25,nan,-inf\n")
    assert [poll.time_ns for poll in polls] == [SECOND, 2_250_000_000]
    assert polls[0].values == ((Channel("s/x"), 1.5), (Channel("s/y"), 2.0))
    assert math.isnan(polls[1].values[0][1])
    assert polls[1].values[1][1] == -math.inf


async def test_columns_become_the_channels_that_the_config_names(tmp_path: Path) -> None:
    columns = {"t (C)": {"channel": "temperature", "unit": "Cel"}}
    polls = await play(tmp_path / "a.csv", "at,t (C),other\n1,20,3\n", time="at", columns=columns)
    assert polls == [Poll(SECOND, ((Channel("s/temperature", "Cel"), 20.0),))]


async def test_what_cannot_be_read_is_dropped_and_counted(tmp_path: Path) -> None:
    rows = ["1,1,1", "never,1,1", "2,,x", "", "3", "4,1_0,0x1", "-7,1,1", "5,2,2"]
    polls = await play(tmp_path / "a.csv", "time,x,y\n" + "\n".join(rows))
    assert plain(polls) == [
        (1 * SECOND, {"s/x": 1.0, "s/y": 1.0}, 0),
        (2 * SECOND, {}, 4),
        (3 * SECOND, {}, 2),
        (4 * SECOND, {}, 2),
        (5 * SECOND, {"s/x": 2.0, "s/y": 2.0}, 2),
    ]


async def test_bad_rows_at_the_end_are_counted_too(tmp_path: Path) -> None:
    polls = await play(tmp_path / "a.csv", "time,x\n1,1\nnever,2\n")
    assert plain(polls) == [(SECOND, {"s/x": 1.0}, 0), (SECOND, {}, 1)]


async def test_a_field_too_long_for_csv_costs_its_row_only(tmp_path: Path) -> None:
    polls = await play(tmp_path / "a.csv", f"time,x\n1,1\n2,{'9' * (csv.field_size_limit() + 1)}\n3,3\n")
    assert plain(polls) == [(SECOND, {"s/x": 1.0}, 0), (3 * SECOND, {"s/x": 3.0}, 1)]


async def test_shift_moves_the_first_row_to_now_and_keeps_the_distances(tmp_path: Path) -> None:
    before = SystemClock().now_ns()
    polls = await play(tmp_path / "a.csv", "time,x\n100,1\n107,2\n", shift=True)
    assert before <= polls[0].time_ns <= SystemClock().now_ns()
    assert polls[1].time_ns - polls[0].time_ns == 7 * SECOND


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("", ConfigError, "'time' as a column"),
        ("tme,x\n1,1\n", ConfigError, "'time' as a column"),
        ("time,x\n", MalformedError, "no row with a time"),
        ("time,x\nnever,1\n", MalformedError, "no row with a time"),
        ("time,the x\n1,1\n", ConfigError, "channel name"),
    ],
)
async def test_a_file_that_is_no_recording_says_why(tmp_path: Path, text: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        await play(tmp_path / "a.csv", text)


async def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        await play(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "time_ns"),
    [
        ("0", 0),
        ("1700000000.123456789", 1_700_000_000_123_456_789),
        ("2013-07-04 00:00:00", 1_372_896_000 * SECOND),
        ("2013-07-04T02:00:00+02:00", 1_372_896_000 * SECOND),
        ("2013-07-04T00:00:00.5Z", 1_372_896_000_500_000_000),
        (" 1970-01-01 ", 0),
        ("2106-02-07 06:28:16", 2**32 * SECOND),
        ("1969-12-31 23:59:59", None),
        ("9999-12-31", None),
        ("-1", None),
        ("nan", None),
        ("", None),
    ],
)
def test_reads_times(text: str, time_ns: int | None) -> None:
    assert parse_time(text) == time_ns


@pytest.mark.skipif(not NAB.is_dir(), reason=f"the recordings of the Numenta Anomaly Benchmark are not at {NAB}")
@pytest.mark.parametrize("name", ["machine_temperature_system_failure", "ambient_temperature_system_failure"])
async def test_plays_a_real_recording_into_the_store(tmp_path: Path, name: str) -> None:
    path = NAB / f"{name}.csv"
    with path.open(newline="") as file:
        expected = {
            int(datetime.fromisoformat(f"{row['timestamp']}+00:00").timestamp()) * SECOND: float(row["value"])
            for row in csv.DictReader(file)
        }
    options = {"path": str(path), "time": "timestamp", "speed": 0.0, "columns": {"value": {"channel": "temperature"}}}
    source = ReplaySource("press", SourceConfig(driver="replay", options=options), SystemClock())
    with closing(Samples(tmp_path / "samples.db", SamplesConfig(flush_seconds=3600), SystemClock())) as samples:
        await source.run(lambda poll: samples.append("press", poll))
        samples.flush()
        (series,) = samples.read(["press/temperature"], Window(start_ns=0, end_ns=2**62))
        assert dict(zip(series.times, series.values, strict=True)) == expected
        assert len(series) == len(expected) > 7000
