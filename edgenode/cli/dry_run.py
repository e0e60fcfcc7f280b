"""``edgenode job submit --dry-run``: what a job would cost, and how much of each node it would take."""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import click

from edgenode.cli import exits, recording
from edgenode.cli.output import rate_text, time_text, write_facts, write_json, write_table
from edgenode.cli.reach import Reach
from edgenode.clock import seconds
from edgenode.errors import ConfigError, EdgenodeError, RefusedError, TransportError
from edgenode.formats import document
from edgenode.formats.frame import encode_frame
from edgenode.formats.job import WindowKind, WindowSpec
from edgenode.formats.reading import Reading
from edgenode.records import Completeness, Series, Snapshot, Window, digest
from edgenode.sensors.snapshot import expand
from edgenode.sensors.window import windowing
from edgenode_sdk import dry_run
from edgenode_sdk.dry_run import Prepared
from edgenode_sdk.estimate import Cost, Load, load
from edgenode_sdk.spec import JobSpec

STEPS: Final = 20  # that are run, spread over the recording


@dataclass(frozen=True, slots=True)
class Cut:
    """A recording in ``count`` windows of the job's length, side by side; the first and the last may be filled in part."""

    first_ns: int
    size_ns: int
    count: int

    @classmethod
    def of(cls, spec: WindowSpec, recorded: Window) -> Cut:
        """At multiples of the size since 1970 where the job cuts so, else back from the recording's end."""
        size_ns = window_ns(spec)
        origin_ns = 0 if spec.kind is WindowKind.TUMBLING else recorded.end_ns % size_ns
        first, last = (recorded.start_ns - origin_ns) // size_ns, -((origin_ns - recorded.end_ns) // size_ns)
        return cls(origin_ns + first * size_ns, size_ns, last - first)

    def __getitem__(self, index: int) -> Window:
        start_ns = self.first_ns + index * self.size_ns
        return Window(start_ns=max(0, start_ns), end_ns=start_ns + self.size_ns)

    def spread(self, most: int) -> list[int]:
        """The indices of at most ``most`` windows: the first, the last, and those at equal distances between."""
        if self.count <= most:
            return list(range(self.count))
        return [turn * (self.count - 1) // (most - 1) for turn in range(most)]


@dataclass(frozen=True, slots=True)
class Report:
    """All that a dry run came to. ``cut`` and ``engine`` are None where nothing was run, ``unmet`` says why no node was asked."""

    prepared: Prepared
    job_steps: int
    cost: Cost
    cut: Cut | None
    engine: str | None
    nodes: Mapping[str, Reading | EdgenodeError]
    unmet: str

    def load(self, reading: Reading) -> Load:
        window = self.prepared.job.window
        every_ns = window_ns(window) if window.kind is WindowKind.TUMBLING else None
        return load(self.cost.worst, reading, steps=self.job_steps, every_ns=every_ns)

    @property
    def loads(self) -> dict[str, Load | EdgenodeError]:
        return {name: one if isinstance(one, EdgenodeError) else self.load(one) for name, one in self.nodes.items()}


def window_ns(spec: WindowSpec) -> int:
    """The length of one window of the job."""
    return spec.size_ns or spec.last_ns or (spec.end_ns or 0) - (spec.start_ns or 0)


def run(spec: JobSpec, file: Path | None, reach: Reach, as_json: bool) -> int:
    """Judge the job, run steps over the recording if there is one, ask the nodes in reach for their readings, and print it all."""
    report = _dry_run(spec, file, reach)
    if as_json:
        write_json(_json(report))
    else:
        _write(report)
    fits = all(isinstance(one, EdgenodeError) or one.keeps_up for one in report.loads.values())
    return exits.OK if fits and not report.cost.failed else exits.FAILED


def _dry_run(spec: JobSpec, file: Path | None, reach: Reach) -> Report:
    prepared, clock = dry_run.prepare(spec, reach.home), reach.home.clock
    series = None if file is None else recording.read(file)
    dry_run.check(prepared, None if series is None else [one.channel.name for one in series], seconds(clock))
    job_steps = _count_steps(prepared.job.window, clock.now_ns())
    cost, cut, engine = Cost(limit=prepared.limits.fuel), None, None
    if series is not None:
        chosen = _chosen(series, prepared.job.inputs.channels)
        cut = Cut.of(prepared.job.window, _recorded(chosen))
        steps, ran = dry_run.run_steps(prepared, ((index, _snapshot(chosen, cut[index])) for index in cut.spread(STEPS)))
        cost, engine = Cost(limit=prepared.limits.fuel, steps=tuple(steps)), ran.version
    nodes, unmet = asyncio.run(_readings(prepared, reach))
    return Report(prepared, job_steps, cost, cut, engine, nodes, unmet)


def _count_steps(spec: WindowSpec, now_ns: int) -> int:
    """How many steps the job would have if a node took it now. Raises RefusedError as a node does."""
    steps = len(windowing(spec, now_ns))
    if not steps:
        raise RefusedError("the job's span holds no whole window", hint="make the span longer, or the windows smaller")
    if spec.end_ns is not None and spec.end_ns > now_ns:
        raise RefusedError("the job's span ends in the future", hint="submit it when the span is over")
    return steps


def _chosen(series: Sequence[Series], patterns: Sequence[str]) -> list[Series]:
    by_name = {one.channel.name: one for one in series}
    return [by_name[channel.name] for channel in expand(patterns, [one.channel for one in series])]


def _recorded(series: Sequence[Series]) -> Window:
    times = [time for one in series for time in (one.times[:1] + one.times[-1:])]
    if not times:
        raise ConfigError("the recording has no sample of the job's channels")
    return Window(start_ns=min(times), end_ns=max(times) + 1)


def _snapshot(series: Sequence[Series], window: Window) -> Snapshot:
    """As a node freezes it: every channel, some perhaps without samples."""
    cut = [_within(one, window) for one in series]
    frame = encode_frame(cut)
    names = tuple(one.channel.name for one in cut)
    return Snapshot(window, frame, digest(frame), names, Completeness(received=sum(map(len, cut))))


def _within(series: Series, window: Window) -> Series:
    first, last = (bisect_left(series.times, time) for time in (window.start_ns, window.end_ns))
    return Series(series.channel, series.times[first:last], series.values[first:last])


async def _readings(prepared: Prepared, reach: Reach) -> tuple[dict[str, Reading | EdgenodeError], str]:
    """The readings of the nodes that the job means, and why there are none."""
    try:
        async with reach.fleet() as fleet:
            found = await dry_run.ask_nodes(prepared, fleet)
            return found, "" if found else "the job's selector means no node in reach"
    except TransportError as error:
        return {}, error.what


def _json(report: Report) -> dict[str, Any]:
    job, manifest, cost = report.prepared.job, report.prepared.module.manifest, report.cost
    return {
        "job": {"name": job.name, "module": manifest.name, "version": manifest.version, "steps": report.job_steps},
        "limits": document.to_json(report.prepared.limits),
        "engine": report.engine,
        "windows": 0 if report.cut is None else report.cut.count,
        "fuel": {"median": cost.median, "worst": cost.worst, "share": cost.worst / cost.limit, "measured": cost.median is not None},
        "steps": [{**asdict(one), "window": document.to_json(one.window), "outcome": document.to_json(one.outcome)} for one in cost.steps],
        "nodes": [{"node": name, **_node_json(report, one)} for name, one in report.nodes.items()],
        "unmet": report.unmet,
    }


def _node_json(report: Report, reading: Reading | EdgenodeError) -> dict[str, Any]:
    if isinstance(reading, EdgenodeError):
        return {"error": reading.what}
    found = report.load(reading)
    return {**asdict(found), "keeps_up": found.keeps_up, "reading": document.to_json(reading)}


def _write(report: Report) -> None:
    manifest, cost = report.prepared.module.manifest, report.cost
    facts: dict[str, object] = {
        "module": f"{manifest.name} {manifest.version}",
        "job": f"{report.job_steps:,} steps",
    }
    if report.cut is None:
        facts["fuel"] = f"at most {cost.limit:,} a step: what it takes of that is only known from a run, with --input"
    else:
        median = "unknown" if cost.median is None else f"{cost.median:,}"
        facts["run here"] = f"{len(cost.steps)} of the recording's {report.cut.count:,} windows, engine {report.engine}"
        facts["fuel"] = f"median {median}, worst {cost.worst:,}: {cost.worst / cost.limit:.2%} of the limit {cost.limit:,}"
        facts["bytes"] = ", ".join(f"{name} {max(getattr(one, name) for one in cost.steps):,}" for name in ("summary", "derived", "state"))
        failures = [f"{time_text(one.window.start_ns)} {one.outcome.kind} {one.outcome.detail}".rstrip() for one in cost.failed]
        facts["failed"] = "; ".join(failures[:3]) + (f"; and {len(failures) - 3} more" if len(failures) > 3 else "") or "none"
    write_facts(facts)
    click.echo()
    if report.unmet:
        click.echo(f"no node to compare with: {report.unmet}")
        return
    write_table(
        ["node", "fuel/s", "workers", "step ms", "of a worker", "job s", "note"],
        [[name, *_row(report, one)] for name, one in report.nodes.items()],
    )


def _row(report: Report, reading: Reading | EdgenodeError) -> list[object]:
    if isinstance(reading, EdgenodeError):
        return ["", "", "", "", "", reading.what]
    found = report.load(reading)
    share = "" if found.share is None else f"{_rounded(100 * found.share):g}%"
    notes = ["" if found.keeps_up else "cannot keep up"]
    if report.engine not in (None, reading.engine):
        notes.append(f"its engine, {reading.engine}, counts fuel in its own way")
    rate, note = rate_text(reading.fuel_per_second), ", ".join(filter(None, notes))
    return [rate, reading.workers, _rounded(1e3 * found.step_seconds), share, _rounded(found.job_seconds), note]


def _rounded(value: float) -> float:
    return float(f"{value:.3g}")
