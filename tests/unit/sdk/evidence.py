"""A fleet on paper, whose one node signs what this machine's sandbox really answers."""

from __future__ import annotations

import array
import secrets
from pathlib import Path
from typing import Any

from edgenode.clock import Clock, seconds
from edgenode.formats.frame import encode_frame
from edgenode.formats.job import Desired, Inputs, Job, JobType, ModuleReference, Selector, WindowKind, WindowSpec
from edgenode.formats.receipt import NO_RECEIPT, Measured, Notice, ReceiptKind, TrustState
from edgenode.records import Capabilities, Channel, ClockState, Completeness, Limits, Series, Snapshot, StepResult, Window, digest
from edgenode.statement import StepInputs, core_of, notice_seal, step_context, step_limits, step_seal
from edgenode.testing import CHANNEL, GUESTS, Publisher
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue
from edgenode.trust.verify import verify_signed_receipt
from edgenode_sdk import local
from edgenode_sdk.home import Home
from edgenode_sdk.replay import Materials
from edgenode_sdk.result import Result

WINDOW = Window(start_ns=1_795_400_000 * 10**9, end_ns=1_795_400_001 * 10**9)
TIMES = array.array("q", [WINDOW.start_ns + at * 10**8 for at in range(10)])
FRAME = encode_frame([Series(Channel(CHANNEL, "Cel"), TIMES, array.array("d", range(10)))])
SHARED = Capabilities(channels=("*",), summary=64, share_snapshot=True)


class Evidence:
    """A laptop's folder, and a node that it enrolled."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.home = Home.create(folder / "laptop", clock)
        self.node = Identity(secrets.token_bytes(32))
        self.node_document = self.home.enrol(self.node.public, "press-7", {})
        self.publisher = Publisher(self.home)

    def step(self, wasm: bytes = b"", *, params: bytes = b"", state: bytes = b"", **manifest: Any) -> tuple[Result, Materials]:
        """One step of a guest, or of ``hello``, run here with a node's stack; ``manifest`` changes its manifest's fields."""
        wasm = wasm or GUESTS["hello"]()
        about = self.publisher.manifest(
            "guest", wasm, **({"limits": Limits(fuel=50_000_000, memory=1 << 20), "capabilities": SHARED} | manifest)
        )
        signed = issue(about, self.home.identity("publisher"))
        self.home.put_module("guest", wasm, signed)
        job = self.job(params)
        snapshot = Snapshot(WINDOW, FRAME, digest(FRAME), (CHANNEL,), Completeness(received=10, expected=10))
        context, limits = step_context(job, 0, 0, WINDOW, snapshot), step_limits(job, about)
        ended, engine = local.run_step(wasm, about, context=context, params=params, state=state, frame=FRAME, limits=limits)
        inputs = StepInputs(
            job=job,
            manifest=digest(signed),
            module=digest(wasm),
            abi=about.abi,
            context=context,
            limits=limits,
            snapshot=snapshot.digest,
            state=state,
            engine=engine,
        )
        signed_job = issue(job, self.home.identity("submitter"))
        materials = Materials(wasm, FRAME, state, params, signed, signed_job)
        return self.receipt(core_of(inputs, ended), ended, engine.library_digest), materials

    def receipt(self, core: bytes, ended: StepResult, library: bytes) -> Result:
        return self._verified(step_seal(self.node, core, ended, self._measured(library))(bytes(16), 0, NO_RECEIPT))

    def fault(self) -> Result:
        """A receipt of the node's own failure."""
        notice = Notice(code="worker-died", text="the worker ended")
        return self._verified(notice_seal(self.node, ReceiptKind.FAULT, notice, self._measured(None))(bytes(16), 0, NO_RECEIPT))

    def job(self, params: bytes, generation: int = 1) -> Job:
        now = seconds(self.home.clock)
        return Job(
            fleet=self.home.keyring().fleet,
            id=bytes(range(16)),
            generation=generation,
            desired=Desired.RUN,
            type=JobType.OPS,
            module=ModuleReference(name="guest"),
            selector=Selector(),
            inputs=Inputs(channels=(CHANNEL,)),
            window=WindowSpec(kind=WindowKind.SPAN, start_ns=WINDOW.start_ns, end_ns=WINDOW.end_ns),
            issued=now,
            start_by=now + 60,
            params=params,
        )

    def _verified(self, data: bytes) -> Result:
        return Result(verify_signed_receipt(data, self.node_document, self.home.keyring()), self.node_document, 0)

    def _measured(self, library: bytes | None) -> Measured:
        now_ns = self.home.clock.now_ns()
        return Measured(finished_ns=now_ns, clock=ClockState.SYNCHRONISED, trust=TrustState.VALID, library=library)
