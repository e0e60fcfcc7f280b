"""Who may import whom (DESIGN §3), as data, with the reason for every ban; over the syntax tree of every file.

errors, records <- clock, config <- formats <- trust <- transport <- the rooms, side by side <- library, statement <- pipeline
<- dispatch <- agent <- cli.   Beside them: hub, and the laptop's edgenode_sdk, which never sees a node's rooms.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import edgenode
import edgenode_sdk

PACKAGES = {name: Path(module.__file__ or "").parent for name, module in (("edgenode", edgenode), ("edgenode_sdk", edgenode_sdk))}
LONGEST = 450  # lines of a file
LONGER = {"sensors.chunks": 480}  # the sample database: its schema, its one writer and its views of one moment belong together

LEAVES = {"edgenode", "errors", "records", "clock", "config", "files"}
DOCUMENTS = LEAVES | {"formats", "trust"}
ROOMS = {"peers", "intake", "sensors", "sandbox", "ledger", "uplink"}


class Rule(NamedTuple):
    """What a part of the house may import of the others; a name with a dot is one file of a room. ``why`` not more."""

    may: set[str]
    why: str


_SIDEWAYS = "rooms never import each other: what passes between them is a record, and the pipeline hands it over"

RULES = {
    "errors": Rule(set(), "it is the ground"),
    "records": Rule(set(), "it is the ground: the sandbox's worker imports it, and every byte counts there"),
    "clock": Rule({"records"}, "it is handed to everybody, so it knows nobody"),
    "config": Rule({"errors"}, "the drivers' own options are read with it, so it knows no room"),
    "files": Rule({"errors"}, "it keeps bytes without knowing what they are"),
    "signals": Rule(set(), "it is between the system and whatever runs"),
    "formats": Rule({"errors", "records"}, "bytes <-> records is pure: no time, no keys, no disk"),
    "trust": Rule({"errors", "records", "formats", "files"}, "trust decisions take bytes, a keyring and a time; they know no clock"),
    "transport": Rule(DOCUMENTS, "it carries what the rooms say, and knows none of them"),
    "database": Rule({"errors"}, "it commits changes without knowing what they are"),
    "state": Rule({"errors", "files", "trust"}, "the state folder is opened before there is any room"),
    "peers": Rule(DOCUMENTS | {"transport"}, _SIDEWAYS),
    "intake": Rule(DOCUMENTS | {"transport"}, _SIDEWAYS),
    "sensors": Rule(LEAVES | {"formats"}, f"samples are not signed, and never leave the device as such; {_SIDEWAYS}"),
    "sandbox": Rule(
        LEAVES | {"trust.verify", "formats.manifest", "formats.wasm", "formats.data_segments", "formats.stdin", "formats.table"},
        "it runs Verified types only: else it could be handed raw bytes; of the formats it knows what a command reads and writes",
    ),
    "ledger": Rule(DOCUMENTS | {"database"}, _SIDEWAYS),
    "uplink": Rule(DOCUMENTS | {"transport"}, _SIDEWAYS),
    "library": Rule(DOCUMENTS | {"ledger"}, "what it keeps comes from the ledger, and goes to whoever asks"),
    "statement": Rule(DOCUMENTS, "it is pure: what is signed depends on what it is handed alone"),
    "pipeline": Rule(
        DOCUMENTS | ROOMS | {"library", "statement"}, "it is the way of a job: it calls the rooms, and whoever runs it calls it"
    ),
    "dispatch": Rule(DOCUMENTS | ROOMS | {"library", "pipeline", "transport"}, "it moves jobs, and is built by the agent"),
    "agent": Rule(
        DOCUMENTS | ROOMS | {"database", "dispatch", "library", "pipeline", "state", "statement", "transport"},
        "it is the composition root: only the command line stands above it",
    ),
    "hub": Rule(DOCUMENTS | {"database", "state", "transport"}, "a hub runs no jobs, so it has none of a node's rooms"),
    "edgenode_sdk": Rule(
        DOCUMENTS | {"transport", "peers.mdns", "intake.admission", "sandbox", "statement"},
        "the laptop keeps to portable Python: finding nodes, judging a job as they do and running a step are all that it shares with them",
    ),
    "cli": Rule(
        DOCUMENTS | {"agent", "hub", "edgenode_sdk", "sensors", "signals", "state", "transport"},
        "what the command line does to a fleet it does through the SDK",
    ),
    "__main__": Rule({"cli"}, "it is one line"),
}

LIBRARIES = {
    "wasmtime": Rule({"sandbox"}, "the engine never enters the agent's process: a guest that breaks out must find no keys"),
    "zeroconf": Rule({"peers.mdns"}, "what comes over multicast is a hint, and one file makes it one"),
    "sqlite3": Rule({"database", "ledger", "sensors", "hub"}, "a database file has one room that owns it"),
    "aiohttp": Rule({"transport", "intake.server", "hub.api"}, "HTTP stays at the edge"),
    "nacl": Rule({"trust"}, "signatures are made and judged in one room"),
    "cryptography": Rule({"transport.tls"}, "it is here for certificates alone"),
    "cbor2": Rule({"formats"}, "bytes from outside meet the strict scanner first"),
    "yaml": Rule({"edgenode_sdk.spec"}, "job files are a laptop's; a node reads TOML"),
    "psutil": Rule({"peers.mdns", "sensors.drivers"}, "it reads the machine, which only a driver does, and an interface's addresses"),
    "click": Rule({"cli"}, "only the command line talks to a terminal"),
    "rich": Rule({"cli"}, "only the command line talks to a terminal"),
    "time": Rule({"clock", "cli"}, "clock is the only reader of time; the command line may measure what a person waits for"),
    "random": Rule({"sensors.runner", "uplink.forward"}, "chance spreads load after a failure, and decides nothing else"),
    "pickle": Rule(set(), "bytes from outside are never unpickled"),
    "requests": Rule(set(), "HTTP is aiohttp's"),
}

SHIPPED_DOUBLES = "testing"  # may import anything; nobody imports it
NO_NAMES = {"util", "utils", "helper", "helpers", "common", "base", "manager", "managers", "misc"}
NOW = {("datetime", "now"), ("datetime", "utcnow"), ("datetime", "today"), ("date", "today")}


class Source(NamedTuple):
    """One file. ``name`` is dotted below its package: ``peers.mdns``, ``edgenode_sdk.fleet``."""

    name: str
    path: Path
    tree: ast.Module

    @property
    def part(self) -> str:
        return self.name.split(".", 1)[0]


def sources() -> Iterator[Source]:
    for package, folder in PACKAGES.items():
        for path in sorted(folder.rglob("*.py")):
            parts = [part for part in path.relative_to(folder).with_suffix("").parts if part != "__init__"]
            name = ".".join(parts if package == "edgenode" else [package, *parts])
            yield Source(name or "edgenode", path, ast.parse(path.read_text(encoding="utf-8")))


SOURCES = list(sources())
each_file = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


def imported(source: Source) -> Iterator[str]:
    """Dotted names as they are imported, wherever in the file: ``edgenode.records.digest``."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{source.path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def fits(name: str, allowed: set[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in allowed)


def test_both_packages_are_looked_at() -> None:
    names = {source.name for source in SOURCES}
    assert {"edgenode", "pipeline", "peers.mdns", "edgenode_sdk", "edgenode_sdk.fleet"} <= names
    assert len(SOURCES) > 60


@each_file
def test_imports_go_one_way(source: Source) -> None:
    if source.part in (SHIPPED_DOUBLES, "edgenode"):
        return
    rule = RULES[source.part]  # a new part of the house gets a rule of its own
    for name in imported(source):
        package, _, inner = name.partition(".")
        if package not in PACKAGES:
            continue
        target = name if package == "edgenode_sdk" else inner or "edgenode"
        if target.split(".")[0] == "__version__":
            target = "edgenode"
        assert target.split(".")[0] == source.part or fits(target, rule.may), f"{source.name} imports {name}, but: {rule.why}"


@each_file
def test_libraries_stay_in_their_rooms(source: Source) -> None:
    if source.part == SHIPPED_DOUBLES:
        return
    for name in imported(source):
        rule = LIBRARIES.get(name.split(".")[0])
        assert rule is None or fits(source.name, rule.may), f"{source.name} imports {name}, but: {rule.why}"


@each_file
def test_nobody_asks_a_date_for_now(source: Source) -> None:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name | ast.Attribute):
            owner = node.value.id if isinstance(node.value, ast.Name) else node.value.attr
            assert (owner, node.attr) not in NOW, f"{source.path}:{node.lineno}: {LIBRARIES['time'].why}"


@each_file
def test_production_code_never_imports_the_doubles(source: Source) -> None:
    if source.part != SHIPPED_DOUBLES:
        assert not any(fits(name, {f"edgenode.{SHIPPED_DOUBLES}"}) for name in imported(source)), source.path


@each_file
def test_a_file_is_named_for_what_it_holds_and_can_be_read_at_once(source: Source) -> None:
    assert NO_NAMES.isdisjoint(source.name.split(".")), f"{source.path}: such a name says nothing"
    lines = len(source.path.read_text(encoding="utf-8").splitlines())
    assert lines <= LONGER.get(source.name, LONGEST), f"{source.path} has {lines} lines: it holds more than one thing"


def test_the_rules_leave_no_way_round() -> None:
    """Following what may be imported, nobody comes back to where they began."""
    above = {part: {name.split(".")[0] for name in rule.may} - {part, "edgenode"} for part, rule in RULES.items()}
    done: set[str] = set()
    while ready := {part for part, may in above.items() if part not in done and may <= done}:
        done |= ready
    assert done == set(RULES), f"these go in a circle: {set(RULES) - done}"


def test_no_rule_is_of_something_that_is_gone() -> None:
    names = {source.name for source in SOURCES}
    parts = names | {name.split(".")[0] for name in names}
    for part, rule in RULES.items():
        assert {part, *rule.may} <= parts, part
    for library, rule in LIBRARIES.items():
        assert all(any(fits(name, {one}) for name in names) for one in rule.may), library


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("edgenode.agent", ["wasmtime", "click", "rich", "yaml", "edgenode_sdk", "edgenode.hub", "edgenode.testing", "edgenode.cli"]),
        (
            "edgenode.hub.api",
            ["wasmtime", "zeroconf", "click", "edgenode.agent", "edgenode.sensors", "edgenode.sandbox", "edgenode.testing"],
        ),
        ("edgenode_sdk", ["wasmtime", "sqlite3", "click", "edgenode.agent", "edgenode.ledger", "edgenode.testing"]),
        ("edgenode.sandbox.worker", ["aiohttp", "asyncio", "nacl", "sqlite3", "zeroconf", "edgenode.trust", "edgenode.ledger"]),
    ],
)
def test_a_process_never_loads_what_it_must_not_have(module: str, never: list[str]) -> None:
    check = f"import sys, {module}; print(*(name for name in {never!r} if name in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout.split()
    assert loaded == []
