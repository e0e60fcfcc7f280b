"""Job files: YAML -> Job."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from edgenode.config import build, shown, unknown_key
from edgenode.errors import ConfigError, MalformedError
from edgenode.formats import document
from edgenode.formats.job import Desired, Inputs, Job, JobType, Label, ModuleReference, Selector, Wanted, WindowKind, WindowSpec
from edgenode.records import KEY_BYTES

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m|h|d)")
_JSON = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
PARAMS_BYTES = 64 << 10  # formats.job: the most that a document carries
_UNIT_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9, "d": 86400 * 10**9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodes:
    """Which nodes: those with all ``labels``, and, if any are named, only these ``keys`` (hex). A batch job runs on ``count`` of them."""

    labels: Mapping[str, str] = field(default_factory=dict)
    keys: tuple[str, ...] = ()
    count: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """A job as a person writes it. Durations are text with a unit: ms, s, m, h, d.

    ``window`` is {last: 60s} or {start: …, end: …} (ISO 8601; without a zone: UTC), with {size: 10s} for tumbling windows.
    """

    module: str
    channels: tuple[str, ...]
    window: Mapping[str, Any]
    name: str = ""
    type: str = "batch"
    nodes: Nodes = field(default_factory=Nodes)
    params: Any = None  # handed to the module as JSON
    limits: Wanted = field(default_factory=Wanted)
    priority: int = 50
    start_within: str = "1h"
    run_for: str | None = None  # no step starts later than this after the submission
    max_failures: int = 10


def load(path: Path) -> JobSpec:
    """Read a job file. Raises ConfigError naming the file, the key and what would fit."""
    try:
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:  # ValueError: no UTF-8, or no number
        raise ConfigError(f"cannot read the job {path}: {error}") from error
    try:
        return parse(table)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.what}", hint=error.hint) from error


def parse(table: Any) -> JobSpec:
    """A job from a mapping. Raises ConfigError."""
    if not isinstance(table, Mapping):
        raise ConfigError("a job is a mapping", hint="module: statistics, channels: [host/*], window: {last: 60s}")
    params = table.get("params")
    return build(JobSpec, {str(name): value for name, value in table.items() if name != "params"}, "", given={"params": params})


def to_job(spec: JobSpec, *, fleet: bytes, manifest: bytes | None, now: int, job: bytes | None = None, generation: int = 1) -> Job:
    """The document to sign. ``now`` is in s; ``manifest`` the digest of the one to pin. Raises ConfigError when a value does not fit."""
    try:
        made = Job(
            fleet=fleet,
            id=job or secrets.token_bytes(16),
            generation=generation,
            desired=Desired.RUN,
            type=JobType(spec.type),
            module=ModuleReference(name=Path(spec.module).stem, manifest=manifest),
            selector=Selector(
                nodes=tuple(_key(text) for text in spec.nodes.keys),
                labels=tuple(Label(name=name, value=value) for name, value in sorted(spec.nodes.labels.items())),
            ),
            inputs=Inputs(channels=tuple(spec.channels)),
            window=_window(spec.window),
            issued=now,
            start_by=now + duration_ns(spec.start_within, "start_within") // 10**9,
            name=spec.name,
            count=spec.nodes.count,
            params=b"" if spec.params is None else _params(spec.params),
            limits=spec.limits,
            priority=spec.priority,
            until=None if spec.run_for is None else now + duration_ns(spec.run_for, "run_for") // 10**9,
            max_failures=spec.max_failures,
        )
        document.encode(made)
    except (ValueError, TypeError, RecursionError, MalformedError) as error:
        raise ConfigError(f"the job does not fit: {error}", hint="docs/protocol.md has each field's bounds") from error
    return made


def duration_ns(text: Any, where: str) -> int:
    """ns of "500ms", "60s", "10m", "1h", "1d". Raises ConfigError."""
    found = _DURATION.fullmatch(text.strip()) if isinstance(text, str) and len(text) <= 32 else None
    if found is None:
        raise ConfigError(f"{where} is {shown(text)}", hint="a number with ms, s, m, h or d, such as 60s")
    return round(Fraction(found[1]) * _UNIT_NS[found[2]])


def _params(value: Any) -> bytes:
    """Compact JSON. It is given up as soon as it is too long: a few lines of YAML with aliases can stand for more than any memory holds."""
    parts: list[str] = []
    size = 0
    for part in _JSON.iterencode(value):
        parts.append(part)
        size += len(part)
        if size > PARAMS_BYTES:
            raise ConfigError(f"params are longer than {PARAMS_BYTES} bytes of JSON", hint="hand large data over as samples")
    return "".join(parts).encode()


def _window(window: Mapping[str, Any]) -> WindowSpec:
    known = ["last", "start", "end", "size"]
    for name in window:
        if name not in known:
            raise unknown_key(f"window.{name}", str(name), known)
    return WindowSpec(
        kind=WindowKind.TUMBLING if "size" in window else WindowKind.SPAN,
        start_ns=_time_ns(window["start"], "window.start") if "start" in window else None,
        end_ns=_time_ns(window["end"], "window.end") if "end" in window else None,
        last_ns=duration_ns(window["last"], "window.last") if "last" in window else None,
        size_ns=duration_ns(window["size"], "window.size") if "size" in window else None,
    )


def _time_ns(value: Any, where: str) -> int:
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{where} is {shown(value)}", hint="a time such as 2026-11-23T08:00:00Z") from error
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1e6) * 1000


def _key(text: str) -> bytes:
    if not re.fullmatch(rf"[0-9a-f]{{{2 * KEY_BYTES}}}", text):
        raise ConfigError(f"nodes.keys has {text!r:.80}", hint="public keys of 64 hex digits, as 'edgenode node list' shows them")
    return bytes.fromhex(text)
