"""The configuration: one frozen dataclass per room, read from TOML.

Every limit has a default, a unit in its comment and a name here; the name is what a LimitError gives. An unknown key is an error
that names the nearest known one.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import math
import re
import reprlib
import tomllib
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from edgenode.errors import ConfigError

T = TypeVar("T")

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")

_SHOWN = reprlib.Repr()
_SHOWN.maxlevel, _SHOWN.maxlist, _SHOWN.maxdict, _SHOWN.maxstring, _SHOWN.maxother = 2, 3, 3, 80, 80


@dataclass(frozen=True, slots=True, kw_only=True)
class IntakeConfig:
    """Where a node or hub listens, and how much it takes from one caller."""

    host: str = "0.0.0.0"  # noqa: S104 - a LAN service; every call but the public card is authenticated
    port: int = 7420
    body_bytes: int = 256 * 1024  # a request that carries documents
    module_bytes: int = 16 * 1024 * 1024  # an uploaded module
    connections: int = 256  # open at once
    clock_skew: int = 60  # seconds that a request's created and expires may be off
    replay_nonces: int = 100_000  # remembered until they expire; when full, a new boot nonce is drawn and all sign anew
    queue_jobs: int = 1_000  # accepted and not finished
    steps: int = 1_000_000  # of one job
    wait_seconds: int = 300  # the longest that one receipts stream stays open


@dataclass(frozen=True, slots=True, kw_only=True)
class PeersConfig:
    """How peers are found. ``interfaces`` empty means every LAN interface; ``static`` are host:port, for networks without multicast."""

    mdns: bool = True
    interfaces: tuple[str, ...] = ()
    static: tuple[str, ...] = ()
    peers: int = 1_000  # remembered at once
    hops: int = 3  # how far a submission is relayed
    relay_seconds: int = 10  # how long one peer may take over a relayed submission

    def __post_init__(self) -> None:
        for address in self.static:
            host, _, port = address.rpartition(":")
            if not host or not port.isdecimal() or not 0 < int(port) < 65536:
                raise ConfigError(f"peers.static has {address!r:.80}", hint="host:port, such as 192.168.1.20:7420")


WORKER_BYTES = 512 * 1024 * 1024  # of a worker beside what its limits allow: a large window while it is made into text, most of all


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxConfig:
    """The workers, and the most that any job may ask of them."""

    workers: int = 1
    mode: str = "native"  # or "pulley": the engine's interpreter, without executable memory, some ten times slower; same results, same fuel
    fuel: int = 100_000_000_000  # the greatest budget of one step
    memory: int = 256 * 1024 * 1024  # the greatest linear memory of one step, bytes
    files: int = 256 * 1024 * 1024  # the greatest file system of one command, bytes
    log_bytes: int = 16 * 1024  # of what a command writes to stderr, for the node's log; at most the 64 KiB that are kept of it
    wall_ms: int = 60_000  # the longest that one step may take, before its worker is replaced
    compile_seconds: int = 120  # CPU time: a Go program of 3 MB takes 2 s on a desktop, and a tenth of that speed is not rare
    compile_memory: int = 2 * 1024 * 1024 * 1024  # address space of the compiling child, bytes
    cache_bytes: int = 256 * 1024 * 1024  # compiled modules on disk
    modules_per_worker: int = 64  # compiled modules that a worker keeps loaded

    @property
    def resident(self) -> int:
        """Bytes of a worker's memory beyond which it is replaced: room for all that a step may take, and for the worker itself."""
        return self.memory + 2 * self.files + WORKER_BYTES

    def __post_init__(self) -> None:
        if self.mode not in ("native", "pulley"):
            raise ConfigError(f"sandbox.mode is {shown(self.mode)}", hint='"native" or "pulley"')


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesConfig:
    """The local sample store."""

    flush_seconds: float = 10.0  # samples younger than this may be lost with the power
    chunk_samples: int = 4_096  # readings of one source gathered before they are flushed at once
    bytes: int = 512 * 1024 * 1024  # the oldest chunks go first
    days: int = 30  # older chunks go
    window_samples: int = 1_000_000  # the most that one window may hold
    channels: int = 10_000  # known at once; derived ones beyond it are dropped, and counted


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerConfig:
    receipts: int = 100_000  # acknowledged receipts kept for those who ask; unacknowledged ones always stay
    blob_bytes: int = 256 * 1024 * 1024  # of modules, and as much again of snapshots and states, kept by digest


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkConfig:
    """One way upstream. ``key`` is the hub's public key: the connection is pinned to it."""

    url: str
    key: str
    batch: int = 256  # receipts a request
    backoff_seconds: float = 0.5  # doubled after each failure, with jitter
    backoff_most: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceConfig:
    """One source: its driver, how often it is read, and the driver's own options."""

    driver: str
    interval_ms: int = 1_000
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.interval_ms < 1:
            raise ConfigError(f"interval_ms is {self.interval_ms}", hint="at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """A node's whole configuration file (edgenode.toml in its state folder)."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    intake: IntakeConfig = IntakeConfig()
    peers: PeersConfig = PeersConfig()
    sandbox: SandboxConfig = SandboxConfig()
    samples: SamplesConfig = SamplesConfig()
    ledger: LedgerConfig = LedgerConfig()
    uplinks: Mapping[str, UplinkConfig] = field(default_factory=dict)
    sources: Mapping[str, SourceConfig] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_name(self.name)


@dataclass(frozen=True, slots=True, kw_only=True)
class HubConfig:
    """A hub's whole configuration file (hub.toml in its state folder)."""

    name: str
    intake: IntakeConfig = IntakeConfig(port=7430)

    def __post_init__(self) -> None:
        _check_name(self.name)


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name is {name!r}", hint="1 to 63 lower-case letters, digits and hyphens, as in a host name")


def load(path: Path, kind: type[T]) -> T:
    """Read ``kind`` (NodeConfig or HubConfig) from a TOML file. Raises ConfigError with the file, the key and what would fit."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="'edgenode node init' and 'edgenode hub init' write one") from error
    except (ValueError, RecursionError) as error:  # ValueError: no TOML, no UTF-8, or a number of too many digits
        raise ConfigError(f"{path}: {error}", hint="mend the line that it names") from error
    try:
        return build(kind, table, "")
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.what}", hint=error.hint) from error


def build(kind: type[T], table: Mapping[str, Any], where: str, *, given: Mapping[str, Any] | None = None) -> T:
    """A dataclass from a TOML or YAML table; ``where`` is the table's dotted name for messages, ``given`` values to take as they are."""
    declared: Any = kind
    hints = _hints(declared)
    own_options = kind is SourceConfig
    values: dict[str, Any] = dict(given or {})
    options: dict[str, Any] = {}
    for name, value in table.items():
        if not isinstance(name, str):
            raise ConfigError(f"{where or 'the file'} has the key {name!r:.80}", hint="keys are text")
        dotted = f"{where}.{name}" if where else name
        if name in hints and not (own_options and name == "options"):
            values[name] = _convert(hints[name], value, dotted)
        elif own_options:
            options[name] = value  # judged by the driver, which knows them
        else:
            raise unknown_key(dotted, name, list(hints))
    if own_options:
        values["options"] = options
    missing = [
        f.name
        for f in dataclasses.fields(kind)  # type: ignore[arg-type]  # every kind is a dataclass
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING and f.name not in values
    ]
    if missing:
        raise ConfigError(f"{where or 'the file'} has no {missing[0]}", hint=f"add {missing[0]} = ...")
    return kind(**values)


def shown(value: Any) -> str:
    """A value from a file for a message, cut short: aliases in YAML make lists that would fill the memory when written out."""
    return _SHOWN.repr(value)


@functools.cache
def _hints(kind: Any) -> dict[str, Any]:
    return get_type_hints(kind)


def unknown_key(dotted: str, name: str, known: list[str]) -> ConfigError:
    """The error for a key nobody knows, naming the nearest known one."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"known here: {', '.join(sorted(known)) or 'none'}"
    return ConfigError(f"unknown key {dotted}", hint=hint)


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin, args = get_origin(hint), get_args(hint)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {shown(value)}", hint="a table")
        return build(hint, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise ConfigError(f"{where} is {shown(value)}", hint="a list")
        return tuple(_convert(args[0], item, where) for item in value)
    if origin is not None and issubclass(origin, Mapping):
        if not isinstance(value, dict):
            raise ConfigError(f"{where} is {shown(value)}", hint="a table")
        return {name: _convert(args[1], item, f"{where}.{name}") for name, item in value.items()}
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _convert(args[0], value, where)
    wanted: tuple[type, ...] = (int, float) if hint is float else (hint,)
    if not isinstance(value, wanted) or (isinstance(value, bool) and hint is not bool):
        raise ConfigError(f"{where} is {shown(value)}", hint=f"a value of type {hint.__name__}")
    if isinstance(value, int | float) and not isinstance(value, bool) and not 0 <= value < math.inf:  # TOML has nan and inf
        raise ConfigError(f"{where} is {value}", hint="not below 0, and finite")
    return hint(value)
