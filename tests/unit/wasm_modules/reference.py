"""What the modules should answer, computed a second time, in another way: numpy, extended precision, plain Python."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .guest import Series

# Where it has the larger exponent (x86-64, aarch64), no square of a binary64 overflows or vanishes in it.
Wide = np.longdouble


def finite(series: Series) -> Any:
    values = np.array(series.values, dtype=np.float64)
    return values[np.isfinite(values)]


def counts(series: Series) -> dict[str, Any]:
    count = len(finite(series))
    invalid = len(series.values) - count
    return {"count": count, **({"invalid": invalid} if invalid else {})}


def statistics(series: Series, quantiles: Sequence[float] = (0.5, 0.9, 0.99)) -> dict[str, Any]:
    values = finite(series).astype(Wide)
    result = counts(series)
    if len(values):
        result |= {"min": float(values.min()), "max": float(values.max()), "mean": float(values.mean())}
    if len(values) > 1:
        result["stddev"] = float(values.std(ddof=1))
    if len(values) and quantiles:
        result["quantiles"] = [[q, float(np.quantile(values, Wide(q)))] for q in quantiles]
    return result


def vibration(series: Series, bands: Sequence[float] | None = None, window: str = "none") -> dict[str, Any]:
    values = finite(series).astype(Wide)
    result = counts(series)
    if len(values):
        deviations = values - values.mean()
        square = (deviations**2).mean()
        rms = np.sqrt(square)
        result |= {"mean": float(values.mean()), "rms": float(rms), "peak": float(abs(deviations).max())}
        if rms > 0:
            result |= {"crest": float(abs(deviations).max() / rms), "kurtosis": float((deviations**4).mean() / square**2)}
    if len(series.times) > 1 and series.times[-1] > series.times[0]:
        rate = (len(series.times) - 1) * 1e9 / (series.times[-1] - series.times[0])
        result["rate"] = rate
        if len(values):
            result["bands"] = band_energies(series, rate, np.linspace(0, rate / 2, 5) if bands is None else np.array(bands), window)
    return result


def band_energies(series: Series, rate: float, edges: Any, window: str) -> list[list[float]]:
    values = np.array(series.values)
    known = np.isfinite(values)
    n = len(values)
    scale = float(np.abs(values[known]).max()) or 1.0
    weights = np.where(known, 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n) / n) if window == "hann" else 1.0, 0.0)
    scaled = np.where(known, values, 0.0) / scale
    signal = weights * (scaled - scaled[known].mean())
    padded = 1 << (n - 1).bit_length()
    spectrum = np.abs(np.fft.fft(signal, padded)) ** 2
    frequencies = np.abs(np.fft.fftfreq(padded)) * rate  # both halves: each bin with its mirror image
    total = (weights**2).sum()
    with np.errstate(over="ignore", under="ignore"):
        unit = Wide(scale) ** 2
    energies = []
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        last = number == len(edges) - 2
        inside = (frequencies >= low) & ((frequencies <= high) if last else (frequencies < high))
        part = spectrum[inside].sum() / padded / total if total else 0.0
        energies.append([float(low), float(high), float(part * unit)])
    return energies


@dataclass
class Alarm:
    raised: bool = False
    changed_ns: int | None = None
    above_ns: int | None = None


def read_state(state: bytes) -> dict[str, Alarm]:
    """State version 1 of threshold-alarm, as its README lays it out."""
    if not state:
        return {}
    version, count = struct.unpack_from("<II", state)
    assert version == 1
    alarms: dict[str, Alarm] = {}
    at = 8
    for _ in range(count):
        changed, above, flags, length = struct.unpack_from("<qqII", state, at)
        name = state[at + 24 : at + 24 + length].decode()
        alarms[name] = Alarm(bool(flags & 1), changed if flags & 2 else None, above if flags & 4 else None)
        at += 24 + length + -length % 8
    assert at == len(state) and list(alarms) == sorted(alarms, key=lambda name: (len(name.encode()), name.encode()))
    return alarms


def write_state(alarms: dict[str, Alarm]) -> bytes:
    state = struct.pack("<II", 1, len(alarms))
    for name in sorted(alarms, key=lambda name: (len(name.encode()), name.encode())):
        alarm, encoded = alarms[name], name.encode()
        flags = alarm.raised + 2 * (alarm.changed_ns is not None) + 4 * (alarm.above_ns is not None)
        state += struct.pack("<qqII", alarm.changed_ns or 0, alarm.above_ns or 0, flags, len(encoded))
        state += encoded + bytes(-len(encoded) % 8)
    return state


@dataclass
class Watch:
    summary: dict[str, Any]
    alarm: Alarm
    changes: list[tuple[int, float, bool]]  # time, value, raised


def watch(series: Series, before: Alarm, *, high: float, low: float, hold_ms: float = 0) -> Watch:
    """From run lengths, not sample by sample: a raise is the first sample that ends a run at or above `high` of the needed length."""
    readings = [(time, value) for time, value in zip(series.times, series.values, strict=True) if np.isfinite(value)]
    raised, changed, above = before.raised, before.changed_ns, before.above_ns
    changes: list[tuple[int, float, bool]] = []
    at = 0
    while at < len(readings):
        rest = readings[at:]
        if raised:
            step = next((i for i, (_, value) in enumerate(rest) if value <= low), None)
        else:
            run = list(itertools.takewhile(lambda reading: reading[1] >= high, rest))
            since = above if above is not None else (run[0][0] if run else None)
            step = next((i for i, (time, _) in enumerate(run) if since is not None and time - since >= int(hold_ms * 1e6)), None)
            if step is None and len(run) < len(rest):  # the run broke off
                above, at = None, at + len(run) + 1
                continue
            above = since if step is None else None
        if step is None:
            break
        changed, value = rest[step]
        raised = not raised
        changes.append((changed, value, raised))
        at += step + 1
    values = [value for _, value in readings]
    summary: dict[str, Any] = {"raised": raised, "raises": sum(change[2] for change in changes), **counts(series)}
    if values:
        summary["max"] = max(values)
    if changed is not None:
        summary["changed_ns"] = changed
    return Watch(summary, Alarm(raised, changed, above), changes)
