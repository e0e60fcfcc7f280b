"""The same inputs give the same core, to the byte: in another worker, in another process, in another run, and on replay."""

from __future__ import annotations

import array
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgenode.config import SandboxConfig
from edgenode.formats.frame import encode_frame
from edgenode.formats.job import Desired, Inputs, Job, JobType, ModuleReference, Selector, WindowKind, WindowSpec
from edgenode.records import Abi, Channel, Completeness, Limits, Series, StepContext, StepResult, Window, digest
from edgenode.sandbox.pool import Pool
from edgenode.statement import StepInputs, core_of, seed, step_limits
from edgenode.testing import Fleet, window
from edgenode.trust.verify import VerifiedModule, unsigned_module
from edgenode_sdk import modules

CASES = sorted(modules.builtin_folder().glob("*/golden/*.json"))
BUILTIN = ("statistics", "threshold-alarm", "vibration-features")


@pytest.fixture(scope="module")
def pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pool]]:
    """Two sandboxes that share nothing: each compiles for itself, and each has a worker of its own."""
    started = [Pool(SandboxConfig(), cache=tmp_path_factory.mktemp("code"), mac_key=bytes(32)) for _ in range(2)]
    for pool in started:
        pool.start()
    yield started
    for pool in started:
        pool.close()


@pytest.fixture(params=CASES, ids=lambda path: f"{path.parent.parent.name}/{path.stem}")
def case(request: pytest.FixtureRequest) -> Path:
    assert isinstance(request.param, Path)
    return request.param


def test_golden_inputs_give_one_core_everywhere(case: Path, pools: list[Pool]) -> None:
    told = json.loads(case.read_text(encoding="utf-8"))
    wasm, manifest = modules.load(case.parent.parent, 0)
    module = unsigned_module(wasm, manifest)
    frame, params = encode_frame(series(told)), json.dumps(told["params"]).encode() if told["params"] else b""
    ran = [step(pool, module, frame, params, bytes.fromhex(told["state"])) for pool in pools for _ in range(2)]
    cores = {core for core, _ in ran}
    assert len(cores) == 1
    assert {(result.summary, result.state, result.derived, result.alerts, result.fuel) for _, result in ran} == {
        (ran[0][1].summary, ran[0][1].state, ran[0][1].derived, ran[0][1].alerts, ran[0][1].fuel)
    }
    assert ran[0][1].outcome.ok and ran[0][1].summary


def test_every_builtin_module_has_a_golden_input() -> None:
    assert {case.parent.parent.name for case in CASES} == set(BUILTIN)


@pytest.mark.parametrize("name", BUILTIN)
async def test_core_of_a_receipt_comes_out_again_from_its_blobs(name: str, tmp_path: Path, pools: list[Pool]) -> None:
    params = {"high": 80, "low": 10} if name == "threshold-alarm" else None
    async with Fleet(tmp_path) as fleet:
        fleet.enrol("a")
        await fleet.start("a")
        fleet.publisher.sign_builtin(name)
        async with fleet.laptop() as laptop:
            submission = await laptop.submit(name, params=params, window=window(size="20s"))
            results = [result async for result in submission.receipts()]
            assert len(results) == 3
            for result in results:
                core = result.core
                assert core is not None
                api = submission.through.api
                wasm, frame, state = [
                    await api.blob(one, 1 << 24) if one != digest(b"") else b"" for one in (core.module, core.snapshot, core.state_before)
                ]
                _, manifest = modules.load(modules.find(name), 0)
                module = unsigned_module(wasm, manifest)
                context = StepContext(
                    window=core.window, step=core.step, revision=core.revision, seed=core.seed, completeness=core.completeness
                )
                again = pools[0].run(
                    module,
                    context=context,
                    params=submission.job.params,
                    state=state,
                    frame=frame,
                    limits=step_limits(submission.job, manifest),
                )
                inputs = StepInputs(
                    abi=Abi.STEP,
                    job=submission.job,
                    manifest=core.manifest,
                    module=digest(wasm),
                    context=context,
                    limits=step_limits(submission.job, manifest),
                    snapshot=digest(frame),
                    state=state,
                    engine=pools[0].engine,
                )
                assert core_of(inputs, again) == result.receipt.core


async def test_two_runs_of_one_job_document_give_one_core(tmp_path: Path) -> None:
    cores = []
    job = bytes(range(16))
    for run in ("first", "second"):
        async with Fleet(tmp_path / run) as fleet:
            fleet.enrol("a")
            await fleet.start("a")
            fleet.publisher.sign("hello", issued=1_795_000_000)
            async with fleet.laptop() as laptop:
                (result,) = await laptop.run("hello", job=job)
                assert result.core is not None
                cores.append(result.core)
    first, second = cores
    assert first.manifest != second.manifest  # two fleets: other publishers
    assert all(getattr(first, name) == getattr(second, name) for name in first.__dataclass_fields__ if name != "manifest")


def series(told: dict[str, Any]) -> list[Series]:
    return [
        Series(
            Channel(one["name"], one["unit"]),
            array.array("q", [one["start_ns"] + after * 1_000_000 for after in one["after_ms"]]),
            array.array("d", [float(value) for value in one["values"]]),
        )
        for one in told["series"]
    ]


def step(pool: Pool, module: VerifiedModule, frame: bytes, params: bytes, state: bytes) -> tuple[bytes, StepResult]:
    """One step as a node runs it: its core, and what came out."""
    job = Job(
        fleet=bytes(16),
        id=bytes(16),
        generation=1,
        desired=Desired.RUN,
        type=JobType.BATCH,
        module=ModuleReference(name=module.manifest.name),
        selector=Selector(),
        inputs=Inputs(channels=("*",)),
        window=WindowSpec(kind=WindowKind.SPAN, start_ns=0, end_ns=10**9),
        issued=0,
        start_by=2**40,
        params=params,
    )
    limits: Limits = step_limits(job, module.manifest)
    context = StepContext(
        window=Window(start_ns=0, end_ns=10**9), step=0, revision=0, seed=seed(job.id, 1, 0, 0), completeness=Completeness(received=1)
    )
    result = pool.run(module, context=context, params=params, state=state, frame=frame, limits=limits)
    inputs = StepInputs(
        abi=Abi.STEP,
        job=job,
        manifest=digest(b"manifest"),
        module=module.digest,
        context=context,
        limits=limits,
        snapshot=digest(frame),
        state=state,
        engine=pool.engine,
    )
    return core_of(inputs, result), result
