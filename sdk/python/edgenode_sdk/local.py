"""A step on this machine, in the same sandbox as a node's: for development, and to replay."""

from __future__ import annotations

import secrets

from edgenode.config import SandboxConfig
from edgenode.formats.manifest import FRAME, Manifest
from edgenode.records import Abi, Capabilities, Engine, Limits, StepContext, StepResult, digest
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import unsigned_module

WIDEST = Capabilities(channels=("*",), summary=1 << 20, derived=1 << 24, alerts=1 << 20, derives=("*",))
"""The most that any manifest can allow."""


def widest_manifest(wasm: bytes, limits: Limits, abi: Abi = Abi.STEP) -> Manifest:
    """A manifest for a module that has none: everything allowed, and these limits."""
    return Manifest(
        module=digest(wasm),
        size=len(wasm),
        name="unsigned",
        version="",
        sequence=0,
        abi=abi,
        input=FRAME,
        output="",
        capabilities=WIDEST,
        limits=limits,
        issued=0,
    )


def sandbox(limits: Limits, *, deep: bool = False) -> Pool:
    """One worker that allows what ``limits`` allow; ``deep`` gives it a replayer's stack."""
    config = SandboxConfig(
        workers=1,
        fuel=limits.fuel,
        memory=limits.memory,
        files=limits.files,
        wall_ms=limits.wall_ms,
    )
    return Pool(config, cache=None, mac_key=secrets.token_bytes(32), deep=deep)


def run_step(
    wasm: bytes,
    manifest: Manifest,
    *,
    context: StepContext,
    params: bytes,
    state: bytes,
    frame: bytes,
    limits: Limits,
    deep: bool = False,
) -> tuple[StepResult, Engine]:
    """Run one step in a worker of its own, and say which engine ran it; ``deep`` as for ``sandbox``. Blocks.

    Raises ModuleError for what is no module of its ABI, LimitError, and FaultError when the worker died or hung.
    """
    with sandbox(limits, deep=deep) as pool:
        module = unsigned_module(wasm, manifest)
        return pool.run(module, context=context, params=params, state=state, frame=frame, limits=limits), pool.engine
