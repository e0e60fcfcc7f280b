"""Job files: what a person writes becomes the document that is signed, or an error that says what would fit."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.errors import ConfigError
from edgenode.formats import document
from edgenode.formats.job import Job, JobType, Label, Wanted, WindowKind, WindowSpec
from edgenode_sdk import spec as specs
from edgenode_sdk.spec import JobSpec, duration_ns

FLEET, NOW = bytes(16), 1_800_000_000
JOB: dict[str, Any] = {"module": "statistics", "channels": ["host/*"], "window": {"last": "60s"}}


def job(**changes: Any) -> Job:
    return specs.to_job(specs.parse({**JOB, **changes}), fleet=FLEET, manifest=None, now=NOW)


def window(**given: Any) -> WindowSpec:
    return job(window=given).window


def test_the_least_that_a_job_needs() -> None:
    made = job()
    assert (made.module.name, made.inputs.channels, made.type, made.count) == ("statistics", ("host/*",), JobType.BATCH, 1)
    assert (made.issued, made.start_by, made.until, made.params, made.priority) == (NOW, NOW + 3600, None, b"", 50)
    assert len(made.id) == 16
    assert job().id != made.id


def test_everything_that_can_be_said() -> None:
    key = bytes(range(32))
    made = job(
        module="wasm-modules/press/press.wasm",
        name="press",
        type="ops",
        nodes={"labels": {"line": "3", "hall": "a"}, "keys": [key.hex()], "count": 7},
        params={"threshold": 1.5},
        limits={"fuel": 10, "wall_ms": 20},
        priority=9,
        start_within="5m",
        run_for="1d",
        max_failures=3,
    )
    assert (made.module.name, made.name, made.type, made.count, made.priority, made.max_failures) == (
        "press",
        "press",
        JobType.OPS,
        7,
        9,
        3,
    )
    assert made.selector.nodes == (key,)
    assert made.selector.labels == (Label(name="hall", value="a"), Label(name="line", value="3"))
    assert (made.params, made.limits) == (b'{"threshold":1.5}', Wanted(fuel=10, wall_ms=20))
    assert (made.start_by, made.until) == (NOW + 300, NOW + 86400)


@pytest.mark.parametrize(
    ("text", "ns"),
    [
        ("500ms", 5 * 10**8),
        ("60s", 60 * 10**9),
        ("1.5s", 15 * 10**8),
        ("10m", 6 * 10**11),
        ("1h", 36 * 10**11),
        (" 2 d ", 1728 * 10**11),
        ("0s", 0),
    ],
)
def test_durations(text: str, ns: int) -> None:
    assert duration_ns(text, "x") == ns


@pytest.mark.parametrize(
    "text", ["", "60", "s", "-1s", "1 s 2 ms", "1,5s", "1e3s", "1us", "1S", "١s", ".5s", "inf s", None, 60, True, "1s\0"]
)
def test_what_is_no_duration_says_what_is(text: Any) -> None:
    with pytest.raises(ConfigError, match=r"window\.last is") as caught:
        duration_ns(text, "window.last")
    assert "60s" in caught.value.hint


@given(st.integers(0, 10**9), st.sampled_from(["ms", "s", "m"]))
def test_a_whole_number_of_a_unit_is_exact(count: int, unit: str) -> None:
    assert duration_ns(f"{count}{unit}", "x") == count * {"ms": 10**6, "s": 10**9, "m": 60 * 10**9}[unit]


def test_windows() -> None:
    assert window(last="60s") == WindowSpec(kind=WindowKind.SPAN, last_ns=60 * 10**9)
    assert window(last="60s", size="10s") == WindowSpec(kind=WindowKind.TUMBLING, last_ns=60 * 10**9, size_ns=10 * 10**9)
    second = 1_795_424_400 * 10**9  # 2026-11-23T09:00:00Z
    by_ends = WindowSpec(kind=WindowKind.SPAN, start_ns=second, end_ns=second + 10**9)
    assert window(start="2026-11-23T09:00:00Z", end="2026-11-23T09:00:01Z") == by_ends
    assert window(start="2026-11-23 09:00:00", end="2026-11-23T10:00:01+01:00") == by_ends
    assert window(start=datetime(2026, 11, 23, 9, tzinfo=UTC), end=datetime(2026, 11, 23, 9, 0, 1)) == by_ends


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "does not fit"),
        ({"start": "2026-11-23T09:00:00Z"}, "does not fit"),
        ({"last": "60s", "start": "2026-11-23T09:00:00Z", "end": "2026-11-23T10:00:00Z"}, "does not fit"),
        ({"start": "2026-11-23T09:00:00Z", "end": "2026-11-23T09:00:00Z"}, "does not fit"),
        ({"start": "2026-11-23T09:00:01Z", "end": "2026-11-23T09:00:00Z"}, "does not fit"),
        ({"start": "1960-01-01T00:00:00Z", "end": "2026-11-23T09:00:00Z"}, "does not fit"),
        ({"last": "0s"}, "does not fit"),
        ({"last": "999999999d"}, "does not fit"),
        ({"last": "1h", "size": "0.1ms"}, "does not fit"),
        ({"size": "1s"}, "does not fit"),
        ({"last": "a while"}, r"window\.last is"),
        ({"start": "yesterday", "end": "today"}, r"window\.start is"),
        ({"lsat": "60s"}, r"unknown key window\.lsat"),
        ({1: "60s"}, r"unknown key window\.1"),
    ],
)
def test_a_window_that_is_none(given: dict[Any, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        job(window=given)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"modul": "x"}, "unknown key modul"),
        ({"nodes": {"label": {}}}, r"unknown key nodes\.label"),
        ({"limits": {"feul": 1}}, r"unknown key limits\.feul"),
        ({1: 2}, "unknown key 1"),
        ({"channels": "host/*"}, "channels is 'host"),
        ({"channels": [1]}, "channels is 1"),
        ({"window": "60s"}, "window is '60s'"),
        ({"priority": "high"}, "priority is 'high'"),
        ({"priority": True}, "priority is True"),
        ({"priority": 101}, "does not fit"),
        ({"type": "cron"}, "does not fit"),
        ({"module": "No Such Name"}, "does not fit"),
        ({"name": "x" * 65}, "does not fit"),
        ({"params": {"x": float("nan")}}, "does not fit"),
        ({"params": "x" * (64 << 10)}, "longer than 65536 bytes"),
        ({"params": {"when": datetime(2026, 1, 1)}}, "does not fit"),
        ({"nodes": {"keys": ["00"]}}, r"nodes\.keys has '00'"),
        ({"nodes": {"keys": ["AB" * 32]}}, r"nodes\.keys has"),
        ({"nodes": {"count": 0}}, "does not fit"),
        ({"channels": ["x"] * 65}, "does not fit"),
        ({"start_within": "soon"}, "start_within is 'soon'"),
        ({"run_for": "-1s"}, "run_for is '-1s'"),
        ({"max_failures": 0}, "does not fit"),
    ],
)
def test_a_job_that_does_not_fit(changes: dict[Any, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        specs.to_job(specs.parse({**JOB, **changes}), fleet=FLEET, manifest=None, now=NOW)


@pytest.mark.parametrize("missing", JOB)
def test_what_is_missing_is_named(missing: str) -> None:
    with pytest.raises(ConfigError, match=f"has no {missing}"):
        specs.parse({name: value for name, value in JOB.items() if name != missing})


# files


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "job.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    text = "module: statistics\nchannels: [host/*]\nwindow: {last: 60s, size: 10s}\nparams: {quantiles: [0.5]}\n"
    assert specs.load(write(tmp_path, text)) == JobSpec(
        module="statistics", channels=("host/*",), window={"last": "60s", "size": "10s"}, params={"quantiles": [0.5]}
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        "just text",
        "- a\n- list\n",
        "module: [\n",
        "a: 1\na: &a [*a]\n",
        "module: !!python/object/apply:os.system [true]\n",
        "? [a]\n: b\n",
        b"\xff\xfe",
        "[" * 100_000,
        f"priority: 1{'0' * 5_000}\n",
        "module: statistics\nmodul: x\nchannels: [a]\nwindow: {last: 1s}\n",
    ],
)
def test_a_file_that_is_no_job_is_named_in_the_error(tmp_path: Path, text: str | bytes) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ConfigError, match=r"job\.yaml"):
        specs.load(path)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        specs.load(tmp_path / "job.yaml")


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [lol, lol, lol, lol, lol, lol, lol, lol, lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]" for level in range(1, levels)]
    return "\n".join(lines)


LAUGHS = "params:\n" + "".join(f"  {line}\n" for line in laughs(9).splitlines())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(f"{laughs(9)}\nmodule: statistics\n", id="keys"),
        pytest.param(f"{LAUGHS}module: statistics\nchannels: [a]\nwindow: {{last: 1s}}\n", id="params"),
        *(pytest.param(f"{LAUGHS}{name}: *a8\n", id=name) for name in ("module", "channels", "window", "nodes", "priority")),
        *(pytest.param(f"{LAUGHS}window: {{{name}: *a8}}\nmodule: a\nchannels: [a]\n", id=name) for name in ("last", "size")),
        pytest.param(f"{LAUGHS}window: {{start: *a8, end: *a8}}\nmodule: a\nchannels: [a]\n", id="start"),
        pytest.param("module: statistics\nchannels: [a]\nwindow: {last: 1s}\nparams: &p [*p]\n", id="itself"),
    ],
)
def test_a_billion_laughs_cost_nothing(tmp_path: Path, text: str) -> None:
    path = write(tmp_path, text)
    began = time.process_time()
    with pytest.raises(ConfigError):
        specs.to_job(specs.load(path), fleet=FLEET, manifest=None, now=NOW)
    assert time.process_time() - began < 2


texts = st.text(max_size=6)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*JobSpec.__dataclass_fields__, "other"]), values), st.booleans())
def test_any_mapping_is_a_job_or_a_configuration_error(given: dict[str, Any], on_a_good_one: bool) -> None:
    try:
        made = specs.to_job(specs.parse({**JOB, **given} if on_a_good_one else given), fleet=FLEET, manifest=None, now=NOW)
    except ConfigError as error:
        assert error.what
        return
    assert document.decode(Job, document.encode(made), limit=1 << 20, limit_name="test") == made
