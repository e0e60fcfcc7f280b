"""Does a receipt's core come out again? Its step, run here, and every digest compared.

    receipt --fetch--> Materials --run--> (StepResult, Engine) --compare--> Replay

``compare`` is pure. Across engine versions bytes are compared and fuel is not (fuel is no promise between versions), and what only
fuel or the native stack decided cannot be replayed there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from edgenode.errors import ConfigError, DigestError, EdgenodeError, LimitError, ModuleError, NotFoundError
from edgenode.formats import wasm
from edgenode.formats.manifest import Manifest
from edgenode.formats.receipt import Core, Receipt
from edgenode.records import Abi, Engine, OutcomeKind, StepContext, StepResult, digest
from edgenode.transport.client import ANSWER_LIMIT
from edgenode.transport.wire import decode_header
from edgenode.trust.keyring import short
from edgenode.trust.verify import reload_job, reload_manifest
from edgenode_sdk import local
from edgenode_sdk.difference import Difference, between
from edgenode_sdk.fleet import AsyncFleet, FleetNode
from edgenode_sdk.home import Home
from edgenode_sdk.result import Result

EMPTY = digest(b"")
PATIENCE = 10  # times the node's wall limit, for slower machines: time decides nothing in a replay
LONGEST_WALL_MS = 3_600_000


class Verdict(StrEnum):
    MATCH = "match"
    MISMATCH = "mismatch"
    NOT_REPLAYABLE = "not replayable"


@dataclass(frozen=True, slots=True)
class Replay:
    """``reason`` says why a step is not replayable, or what a match does not cover; ``differences`` are a mismatch's."""

    verdict: Verdict
    reason: str = ""
    differences: tuple[Difference, ...] = ()


class Part(StrEnum):
    """What a replay is made of. The core names all by digest but the job, of which it names id and params."""

    MODULE = "module"
    SNAPSHOT = "snapshot"
    STATE = "state"
    PARAMS = "params"
    MANIFEST = "manifest"
    JOB = "job"


@dataclass(frozen=True, slots=True)
class Materials:
    """All that a step is a function of, as bytes that the core names; the documents are signed ones, None where nobody has them."""

    wasm: bytes
    snapshot: bytes
    state: bytes
    params: bytes
    manifest: bytes | None
    job: bytes | None = None


class Stock:
    """Where materials come from: files that were given, then the laptop's folder, then nodes, asked only for what is missing.

    A part of which files are given is looked for nowhere else. ``fleet`` is an open one, or opens it when it is first needed; None: ask
    nobody.
    """

    def __init__(
        self,
        given: Mapping[Part, Sequence[bytes]] | None = None,
        *,
        home: Home | None = None,
        fleet: AsyncFleet | Callable[[], Awaitable[AsyncFleet]] | None = None,
    ) -> None:
        self._given, self._home = given or {}, home
        self._fleet: AsyncFleet | Callable[[], Awaitable[AsyncFleet]] | EdgenodeError | None = fleet

    def gives(self, part: Part) -> bool:
        return bool(self._given.get(part))

    def at_hand(self, part: Part, name: bytes) -> bytes | None:
        """The bytes of this digest, if they are here. Raises DigestError when files of this part are given, and none of them is meant."""
        if files := self._given.get(part):
            for data in files:
                if digest(data) == name:
                    return data
            raise DigestError(f"no {part} that was given is {short(name)}, which the core names", hint=f"give {part} {name.hex()}")
        if name == EMPTY:
            return b""
        return self._home.manifest(name) if part is Part.MANIFEST and self._home else None

    async def find(self, part: Part, name: bytes, *, signer: bytes) -> bytes:
        """The bytes of this digest, at hand or from a node, the signer first. Raises NotFoundError, DigestError or TransportError."""
        if (data := self.at_hand(part, name)) is not None:
            return data
        for node in await self._nodes(signer):
            try:
                data = await node.api.blob(name, ANSWER_LIMIT)
            except NotFoundError:
                continue
            if digest(data) != name:
                raise DigestError(f"node {node.node.name} sent other bytes than {part} {short(name)}")
            return data
        raise _missing(part, f"{part} {short(name)} is not here")

    async def find_job(self, core: Core, *, signer: bytes) -> bytes:
        """The signed job with the params that the core names, its generation or a later one. Raises as ``find`` does."""
        if files := self._given.get(Part.JOB):
            for data in files:
                if is_job_of(core, data):
                    return data
            raise DigestError(f"no job that was given is {short(core.job)} with the params that the core names")
        for node in await self._nodes(signer):
            try:
                told = await node.api.job(core.job)
            except NotFoundError:
                continue
            data = decode_header(str(told.get("document", "")))
            if is_job_of(core, data):
                return data
        raise _missing(Part.JOB, f"job {short(core.job)} with the params that the core names is not here")

    async def _nodes(self, signer: bytes) -> list[FleetNode]:
        """The nodes in reach, the one that signed first: it kept what a replay needs."""
        if callable(self._fleet):
            try:
                self._fleet = await self._fleet()
            except EdgenodeError as error:
                self._fleet = error  # nor is it looked for again with the next receipt
        if isinstance(self._fleet, EdgenodeError):
            raise self._fleet
        return sorted(self._fleet.nodes, key=lambda node: node.node.public_key != signer) if self._fleet else []


def is_job_of(core: Core, data: bytes) -> bool:
    """Whether a signed job says what the core's step was given. Stopping a job is a later generation, with the same params."""
    job = reload_job(data).job
    return job.id == core.job and job.generation >= core.generation and digest(job.params) == core.params


async def replay(result: Result, stock: Stock) -> Replay:
    """Run a verified receipt's step here, with what the stock has of it.

    Raises TransportError, TrustError for bytes that are not those that were signed for, and FaultError when the sandbox of this machine
    failed.
    """
    if result.core is None:
        return _not_a_step(result)
    try:
        materials = await fetch(result.core, stock, signer=result.node.public_key)
    except (NotFoundError, ModuleError) as error:
        return Replay(Verdict.NOT_REPLAYABLE, error.what)
    return await asyncio.to_thread(replay_with, result, materials)


async def fetch(core: Core, stock: Stock, *, signer: bytes) -> Materials:
    """Get what the core names by digest. Raises NotFoundError for what is gone, DigestError for bytes of another digest."""
    module = await stock.find(Part.MODULE, core.module, signer=signer)
    manifest = stock.at_hand(Part.MANIFEST, core.manifest)
    if manifest is None and (why := _needs_manifest(core, module)):
        try:
            manifest = await stock.find(Part.MANIFEST, core.manifest, signer=signer)
        except NotFoundError as error:
            raise NotFoundError(f"{error.what}, and {why}") from error
    params = stock.at_hand(Part.PARAMS, core.params)
    if params is None or stock.gives(Part.JOB):
        params = reload_job(await stock.find_job(core, signer=signer)).job.params
    try:
        snapshot = await stock.find(Part.SNAPSHOT, core.snapshot, signer=signer)
        state = await stock.find(Part.STATE, core.state_before, signer=signer)
    except NotFoundError as error:
        raise NotFoundError(f"{error.what}: {_why_gone(manifest)}") from error
    return Materials(module, snapshot, state, params, manifest)


def replay_with(result: Result, materials: Materials) -> Replay:
    """The same with materials that are all here, as from a bundle. Blocks."""
    core = result.core
    if core is None:
        return _not_a_step(result)
    manifest = None if materials.manifest is None else reload_manifest(materials.manifest).manifest
    try:
        again, engine = run(core, materials, manifest)
    except (LimitError, ConfigError, ModuleError) as error:
        return Replay(Verdict.NOT_REPLAYABLE, error.what)
    config = engine.config(Abi.STEP if manifest is None else manifest.abi)
    return compare(core, result.receipt, again, engine, config)


def run(core: Core, materials: Materials, manifest: Manifest | None) -> tuple[StepResult, Engine]:
    """The core's step again, in this machine's sandbox. Blocks."""
    if manifest is not None and manifest.module != core.module:
        raise DigestError(f"the manifest that the core names is of module {short(manifest.module)}, not of {short(core.module)}")
    limits = replace(core.limits, wall_ms=min(PATIENCE * core.limits.wall_ms, LONGEST_WALL_MS))
    return local.run_step(
        materials.wasm,
        manifest or local.widest_manifest(materials.wasm, core.limits),
        context=StepContext(window=core.window, step=core.step, revision=core.revision, seed=core.seed, completeness=core.completeness),
        params=materials.params,
        state=materials.state,
        frame=materials.snapshot,
        limits=limits,
        deep=True,
    )


def compare(core: Core, receipt: Receipt, again: StepResult, engine: Engine, config: bytes) -> Replay:
    """What a receipt and its core say against what came out here.

    ``config`` is this sandbox's configuration for the module's ABI, and ``again`` came out with the deep stack of a replayer (DESIGN §5).
    """
    if core.config != config:
        return Replay(Verdict.NOT_REPLAYABLE, f"the node's sandbox has configuration {core.config.hex()}, this one {config.hex()}")
    said, found = core.outcome.kind, again.outcome.kind
    if said is OutcomeKind.STACK and found is not OutcomeKind.STACK:
        return Replay(Verdict.NOT_REPLAYABLE, f"the node's native stack ran out; with the deeper one here the step went on, to {found}")
    if OutcomeKind.STACK in (said, found) and receipt.measured.library != engine.library_digest:
        return Replay(Verdict.NOT_REPLAYABLE, "the native stack ran out, and how deep it is depends on the CPU and the engine's build")
    same_engine = core.engine == engine.version
    if OutcomeKind.FUEL in (said, found) and not same_engine:
        return Replay(Verdict.NOT_REPLAYABLE, f"fuel ran out, and engines {core.engine} and {engine.version} count it differently")
    differences = tuple(_differences(core, receipt, again, fuel=same_engine))
    if differences:
        return Replay(Verdict.MISMATCH, differences=differences)
    reason = "" if same_engine else f"fuel is not compared: the node ran engine {core.engine}, this machine runs {engine.version}"
    return Replay(Verdict.MATCH, reason)


def _differences(core: Core, receipt: Receipt, again: StepResult, *, fuel: bool) -> Iterator[Difference]:
    pairs: list[tuple[str, Any, Any]] = [
        ("outcome", core.outcome, again.outcome),
        ("summary", core.summary, digest(again.summary)),
        ("state_after", core.state_after, digest(again.state)),
        ("derived", core.derived, digest(again.derived)),
        ("alerts", core.alerts, digest(again.alerts)),
    ]
    if fuel:
        pairs.append(("fuel", core.fuel, again.fuel))
    carried = {"summary": (receipt.summary, again.summary), "alerts": (receipt.alerts, again.alerts)}
    for name, said, found in pairs:
        if said != found:
            yield Difference(name, _text(said), _text(found), between(*carried[name]) if name in carried else ())


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _not_a_step(result: Result) -> Replay:
    return Replay(Verdict.NOT_REPLAYABLE, f"a {result.receipt.kind} receipt: no step was run")


def _needs_manifest(core: Core, module: bytes) -> str:
    """Why this step cannot be run without its manifest; empty when it can."""
    if core.outcome.kind in (OutcomeKind.OUTPUT, OutcomeKind.REPLY):
        return "its output limits decided the outcome"
    functions = {one.partition("(")[0] for one in wasm.read(module).exports}
    is_step = "func edgenode_step" in functions and "func _start" not in functions  # with both, only the manifest says which it is
    return "" if is_step else "it alone says how samples are handed to this program"


def _why_gone(manifest: bytes | None) -> str:
    if manifest is not None and not reload_manifest(manifest).manifest.capabilities.share_snapshot:
        return "the manifest does not let it be kept (share_snapshot)"
    return "a node keeps it for modules that share it, the newest as far as ledger.blob_bytes goes"


def _missing(part: Part, what: str) -> NotFoundError:
    return NotFoundError(what, hint=f"give it with --{part} FILE, or name the node that ran the step with --node ADDRESS")
