"""Does a receipt's core come out again? Its step, run here, and every digest compared.

    core --fetch--> Materials --run--> (StepResult, Engine) --compare--> Replay

``compare`` is pure. Across engine versions bytes are compared and fuel is not (fuel is no promise between versions), and what only
fuel or the native stack decided cannot be replayed there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from edgenode.errors import ConfigError, DigestError, LimitError, NotFoundError
from edgenode.formats.manifest import Manifest
from edgenode.formats.receipt import Core
from edgenode.records import Engine, OutcomeKind, StepContext, StepResult, digest
from edgenode.transport.client import ANSWER_LIMIT
from edgenode.transport.node_api import NodeApi
from edgenode_sdk import local
from edgenode_sdk.result import Result

EMPTY = digest(b"")


class Verdict(StrEnum):
    MATCH = "match"
    MISMATCH = "mismatch"
    NOT_REPLAYABLE = "not replayable"


@dataclass(frozen=True, slots=True)
class Difference:
    """A field of the core that came out differently; digests in hex."""

    field: str
    receipt: str
    here: str


@dataclass(frozen=True, slots=True)
class Replay:
    """``reason`` says why a step is not replayable, or what a match does not cover; ``differences`` are a mismatch's."""

    verdict: Verdict
    reason: str = ""
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True, slots=True)
class Materials:
    """All that a step is a function of, as bytes whose digests the core names. ``manifest`` is None where nobody here has it."""

    wasm: bytes
    snapshot: bytes
    state: bytes
    params: bytes
    manifest: Manifest | None


async def replay(result: Result, api: NodeApi, *, params: bytes | None, manifest: Manifest | None) -> Replay:
    """Run a verified receipt's step here, with what this node still has of it.

    ``params`` are the job's, ``manifest`` the one that the core names, each None where it is not known. Raises TransportError,
    TrustError when the node has other bytes than it signed for, and FaultError when the sandbox of this machine failed.
    """
    core = result.core
    if core is None:
        return Replay(Verdict.NOT_REPLAYABLE, f"a {result.receipt.kind} receipt: no step was run")
    try:
        materials = await fetch(core, api, params=params, manifest=manifest)
        again, engine = await asyncio.to_thread(run, core, materials)
    except (NotFoundError, LimitError, ConfigError) as error:
        return Replay(Verdict.NOT_REPLAYABLE, error.what)
    return compare(core, result.receipt.measured.library, again, engine)


async def fetch(core: Core, api: NodeApi, *, params: bytes | None, manifest: Manifest | None) -> Materials:
    """Get what the core names by digest. Raises NotFoundError for what is gone, DigestError for bytes of another digest."""
    if core.params == EMPTY:
        params = b""
    if params is None:
        raise NotFoundError("the job's params are not known: its node has forgotten it, or was not asked")
    if digest(params) != core.params:
        raise DigestError("the job's params are not those that the core names")
    if manifest is None and core.outcome.kind in (OutcomeKind.OUTPUT, OutcomeKind.REPLY):  # which the capabilities decide
        raise NotFoundError("the manifest, whose output limits decided the outcome, is not in this laptop's folder")
    return Materials(
        wasm=await _blob(api, "module", core.module),
        snapshot=await _blob(api, "snapshot", core.snapshot),
        state=await _blob(api, "state", core.state_before),
        params=params,
        manifest=manifest,
    )


def run(core: Core, materials: Materials) -> tuple[StepResult, Engine]:
    """The core's step again, in this machine's sandbox. Blocks."""
    manifest = materials.manifest or local.widest_manifest(materials.wasm, core.limits)
    return local.run_step(
        materials.wasm,
        manifest,
        context=StepContext(window=core.window, step=core.step, revision=core.revision, seed=core.seed, completeness=core.completeness),
        params=materials.params,
        state=materials.state,
        frame=materials.snapshot,
        limits=core.limits,
    )


def compare(core: Core, library: bytes | None, again: StepResult, engine: Engine) -> Replay:
    """What the core says against what came out here. ``library`` is the digest of the engine's library that the node measured."""
    if core.config != engine.config_digest:
        return Replay(
            Verdict.NOT_REPLAYABLE, f"the node's sandbox has configuration {core.config.hex()}, this one {engine.config_digest.hex()}"
        )
    same_engine = core.engine == engine.version
    kinds = {core.outcome.kind, again.outcome.kind}
    if OutcomeKind.STACK in kinds and library != engine.library_digest:
        return Replay(Verdict.NOT_REPLAYABLE, "the native stack ran out, and how deep it is depends on the CPU and the engine's build")
    if OutcomeKind.FUEL in kinds and not same_engine:
        return Replay(Verdict.NOT_REPLAYABLE, f"fuel ran out, and engines {core.engine} and {engine.version} count it differently")
    differences = tuple(_differences(core, again, fuel=same_engine))
    if differences:
        return Replay(Verdict.MISMATCH, differences=differences)
    reason = "" if same_engine else f"fuel is not compared: the node ran engine {core.engine}, this machine runs {engine.version}"
    return Replay(Verdict.MATCH, reason)


def _differences(core: Core, again: StepResult, *, fuel: bool) -> Iterator[Difference]:
    pairs: list[tuple[str, object, object]] = [
        ("outcome", core.outcome, again.outcome),
        ("summary", core.summary, digest(again.summary)),
        ("state_after", core.state_after, digest(again.state)),
        ("derived", core.derived, digest(again.derived)),
        ("alerts", core.alerts, digest(again.alerts)),
    ]
    if fuel:
        pairs.append(("fuel", core.fuel, again.fuel))
    for name, said, found in pairs:
        if said != found:
            yield Difference(name, _text(said), _text(found))


def _text(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


async def _blob(api: NodeApi, what: str, name: bytes) -> bytes:
    if name == EMPTY:
        return b""
    try:
        data = await api.blob(name, ANSWER_LIMIT)
    except NotFoundError as error:
        raise NotFoundError(f"the node has no {what} {name.hex()[:12]} (any more): {error.hint}") from error
    if digest(data) != name:
        raise DigestError(f"the node sent other bytes than {what} {name.hex()[:12]}")
    return data
