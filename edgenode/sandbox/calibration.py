"""How fast this node's workers burn fuel: a fixed guest, run a few times through the node's own pool.

The guest (calibration.wat, and the same assembled) mixes what modules do: integer work, dependent floating-point work with a division,
loads and stores out of order, calls and unpredictable branches. Fuel is a count of instructions, and instructions differ in time, so no
mix fits every module; this one is made slower than those that come with edgenode, so that a plan is rather too dear. A guest that
means to can be 25 times slower still: a loop of memory.grow burns 0.1 G a second. Of fuel per second, on one x86-64 core and in
steps of more than a millisecond:

    native   this guest  2.6 G    threshold-alarm 5.7 G     vibration-features 5.3 G     statistics 13.5 G
    pulley   this guest  0.19 G   threshold-alarm 0.64 G    vibration-features 0.20 G    statistics 0.67 G

What a step costs beside its guest's work (a new instance, the snapshot, the commit) is no fuel, and not in the reading. What else the
machine did meanwhile makes the reading lower, never higher; it is not taken again.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final

from edgenode.errors import FaultError
from edgenode.formats.manifest import FRAME, Manifest
from edgenode.records import Abi, Capabilities, Completeness, Limits, StepContext, Window, digest
from edgenode.sandbox.pool import Pool
from edgenode.trust.verify import VerifiedModule, unsigned_module

RUNS: Final = 6  # at most
ENOUGH_NS: Final = 100_000_000  # of running, after which no other run begins: an interpreter takes that long for one
PAUSE_SECONDS: Final = 0.005  # between runs: a step that waits for the worker gets it then

_LIMITS: Final = Limits(fuel=40_000_000, memory=256 << 10, state=0, wall_ms=5_000)
_CONTEXT: Final = StepContext(
    window=Window(start_ns=0, end_ns=0), step=0, revision=0, seed=bytes(32), completeness=Completeness(received=0)
)


def measure(pool: Pool, stopping: threading.Event) -> int:
    """Fuel per second of one worker, the best of a few runs; a step that comes meanwhile waits for one of them at most. Blocks.

    ``stopping`` ends it early. Raises FaultError when no run came to its end, and what ``pool.run`` raises.
    """
    module = _module()
    pool.prepare(module)
    best = spent_ns = 0
    for _ in range(RUNS):
        result = pool.run(module, context=_CONTEXT, params=b"", state=b"", frame=b"", limits=_LIMITS)
        if not result.outcome.ok or not result.fuel or not result.wall_ns:
            raise FaultError(f"the calibration guest ended in {result.outcome.kind}")
        best = max(best, result.fuel * 1_000_000_000 // result.wall_ns)
        spent_ns += result.wall_ns
        if spent_ns >= ENOUGH_NS or stopping.wait(PAUSE_SECONDS):
            break
    return best


def _module() -> VerifiedModule:
    wasm = Path(__file__).with_suffix(".wasm").read_bytes()
    manifest = Manifest(
        module=digest(wasm),
        size=len(wasm),
        name="calibration",
        version="1",
        sequence=1,
        abi=Abi.STEP,
        input=FRAME,
        output="",
        capabilities=Capabilities(channels=(), summary=8),
        limits=_LIMITS,
        issued=0,
    )
    return unsigned_module(wasm, manifest)
