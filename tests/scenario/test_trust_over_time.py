"""What a node does with what it took before, when trust, generations and time have moved on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from edgenode.clock import seconds
from edgenode.errors import ConflictError, RefusedError, RevokedError
from edgenode.formats.job import Desired
from edgenode.formats.trust import Grant, Revoked, Role
from edgenode.ledger.store import JobState
from edgenode.testing import Fleet, everything, window
from edgenode.transport.node_api import NodeApi, ReceiptItem
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue

from .steps import assert_alive, mesh, until

OTHER = Identity(bytes(range(32)))


async def test_stored_module_of_a_revoked_publisher_is_not_run_by_name_either(fleet: Fleet) -> None:
    fleet.enrol("a")
    fleet.publisher.sign("hello")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        await assert_alive(laptop)
        fleet.publish(revoked=Revoked(keys=(fleet.home.identity("publisher").public,)))
        for path in (fleet.home.folder / "modules").iterdir():
            path.unlink()  # so that the job names the module alone, and brings nothing
        with pytest.raises(RevokedError):
            await laptop.run("hello")


async def test_stop_overtakes_a_job_that_is_still_being_passed_on(fleet: Fleet) -> None:
    await mesh(fleet, "ab")
    fleet.publisher.sign("hello")
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("hello", type="ops", window=window(size="1s"), through="a")
        stop = replace(submission.job, generation=2, desired=Desired.STOP)
        await laptop.fleet.nodes[0].api.submit(issue(stop, fleet.home.identity("submitter")), b"")
    for name in "ab":
        ledger = fleet.nodes[name].agent._rooms.ledger
        await until(lambda ledger=ledger: (row := ledger.job(submission.job.id)) is not None and row.generation == 2)  # type: ignore[misc]
        row = ledger.job(submission.job.id)
        assert row is not None and row.state is not JobState.OPEN


async def test_stop_that_comes_before_its_job_keeps_it_out(fleet: Fleet) -> None:
    fleet.enrol("a")
    fleet.publisher.sign("hello")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        done = await laptop.submit("hello")
        await everything(done)
        run = replace(done.job, id=bytes(15) + b"z")
        submitter = fleet.home.identity("submitter")
        api = laptop.fleet.nodes[0].api
        await api.submit(issue(replace(run, generation=2, desired=Desired.STOP), submitter), b"")
        with pytest.raises(ConflictError):
            await api.submit(issue(run, submitter), b"")


async def test_another_submitter_cannot_replace_or_stop_a_job(fleet: Fleet) -> None:
    fleet.enrol("a")
    fleet.publisher.sign("hello")
    await fleet.start("a")
    now = seconds(fleet.clock)
    grants = fleet.home.trust().trust.grants
    fleet.publish(grants=(*grants, Grant(role=Role.SUBMITTER, public_key=OTHER.public, name="other", expires=now + 1000)))
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("hello")
        stolen = issue(replace(submission.job, generation=2**62), OTHER)
        with pytest.raises(ConflictError, match="another submitter"):
            await laptop.fleet.nodes[0].api.submit(stolen, b"")


async def test_window_that_is_not_over_is_refused(fleet: Fleet) -> None:
    fleet.enrol("a")
    fleet.publisher.sign("hello")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        with pytest.raises(RefusedError, match="ends in the future"):
            await laptop.run("hello", window={"start": "2026-01-01T00:00:00Z", "end": "2040-01-01T00:00:00Z"})


async def test_node_that_is_not_meant_keeps_no_module(fleet: Fleet) -> None:
    folder = fleet.enrol("a", labels={"line": "3"})
    fleet.publisher.sign("hello")
    await fleet.start("a")
    async with fleet.laptop() as laptop:
        with pytest.raises(RefusedError, match="selector"):
            await laptop.run("hello", nodes={"labels": {"line": "4"}})
    assert not list((folder / "modules").iterdir())


async def test_one_receipt_that_is_changed_on_the_way_costs_no_other(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    fleet.enrol("a")
    fleet.publisher.sign("hello")
    await fleet.start("a")
    honest = NodeApi.receipts

    async def bent(self: NodeApi, job: bytes, wait: float) -> Any:
        first = True
        async for item in honest(self, job, wait):
            if first and isinstance(item, ReceiptItem):
                first, item = False, ReceiptItem(item.receipt[:-1] + bytes([item.receipt[-1] ^ 1]), item.node_document)
            yield item

    monkeypatch.setattr(NodeApi, "receipts", bent)
    async with fleet.laptop() as laptop:
        submission = await laptop.submit("hello", window=window(size="2s"))
        results = await everything(submission)
    untrusted = [told for told in submission.executions.values() if told.state == "untrusted"]
    assert len(untrusted) == 1 and "does not fit" in untrusted[0].reason
    assert results and all(result.ok for result in results)
