"""The ledger: what is one transaction stays one, and a receipt's place in the chain is given once."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from edgenode.errors import ConflictError
from edgenode.formats.job import Desired
from edgenode.formats.receipt import NO_RECEIPT, Ack, Stored
from edgenode.ledger.outbox import Outbox
from edgenode.ledger.store import JobState, Ledger, RelayRow
from edgenode.records import digest

from .documents import NOW, Documents, a_commit, accept, receipt_in

LATER = NOW + 10**9  # s: past every start_by here


def test_an_accepted_job_is_open_at_its_first_step(ledger: Ledger, documents: Documents) -> None:
    job = documents.job()
    row, new = accept(ledger, documents, job)
    assert new
    assert row == ledger.job(job.job.id)
    assert (row.state, row.next_step, row.steps, row.data, row.guest_state) == (JobState.OPEN, 0, 3, job.data, b"")


def test_the_same_job_again_changes_nothing(ledger: Ledger, documents: Documents) -> None:
    job = documents.job()
    accept(ledger, documents, job)
    ledger.commit_step(a_commit(job.job), documents.seal())
    row, new = accept(ledger, documents, job, steps=9, accepted_ns=6)
    assert not new
    assert (row.next_step, row.steps, row.accepted_ns) == (1, 3, 5)


def test_other_bytes_of_the_same_generation_are_a_conflict(ledger: Ledger, documents: Documents) -> None:
    row, _ = accept(ledger, documents, documents.job())
    with pytest.raises(ConflictError):
        accept(ledger, documents, documents.job(name="other"))
    assert ledger.job(row.id) == row


def test_a_higher_generation_begins_anew_and_a_lower_one_is_a_conflict(ledger: Ledger, documents: Documents) -> None:
    first, second = documents.job(), documents.job(generation=2)
    accept(ledger, documents, first)
    ledger.commit_step(a_commit(first.job), documents.seal())
    row, new = accept(ledger, documents, second)
    assert new
    assert (row.generation, row.next_step, row.guest_state) == (2, 0, b"")
    with pytest.raises(ConflictError):
        accept(ledger, documents, first)
    with pytest.raises(ConflictError):
        ledger.commit_step(a_commit(first.job, 1), documents.seal())


def test_a_step_moves_the_cursor_once(ledger: Ledger, documents: Documents, outbox: Outbox) -> None:
    job = documents.job()
    accept(ledger, documents, job)
    ledger.commit_step(a_commit(job.job, guest_state=b"one", failures=2), documents.seal())
    with pytest.raises(ConflictError):
        ledger.commit_step(a_commit(job.job, guest_state=b"two"), documents.seal())
    row = ledger.job(job.job.id)
    assert row is not None
    assert (row.next_step, row.guest_state, row.failures) == (1, b"one", 2)
    assert len(ledger.receipts(job.job.id)) == outbox.waiting() == 1


def test_a_seal_that_fails_leaves_no_trace_of_its_step(ledger: Ledger, documents: Documents, outbox: Outbox) -> None:
    job = documents.job()
    before, _ = accept(ledger, documents, job)

    def broken(chain: bytes, seq: int, prev: bytes) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.commit_step(a_commit(job.job, derived=b"series"), broken)
    assert ledger.job(job.job.id) == before
    assert (ledger.derived(), ledger.receipts(job.job.id), outbox.waiting()) == ([], [], 0)
    assert ledger.commit_step(a_commit(job.job), documents.seal()).seq == 0


def test_the_chain_has_no_gap_and_each_receipt_names_the_one_before(ledger: Ledger, documents: Documents) -> None:
    job = documents.job()
    accept(ledger, documents, job, steps=20)
    for step in range(10):
        ledger.commit_step(a_commit(job.job, step), documents.seal())
        with pytest.raises(ConflictError):
            ledger.commit_step(a_commit(job.job, step), documents.seal())
    ledger.end(job.job.id, 1, JobState.FAILED, "over", documents.seal())
    rows = ledger.receipts(job.job.id)
    receipts = [receipt_in(row.data) for row in rows]
    assert [one.seq for one in receipts] == list(range(11))
    assert {one.chain for one in receipts} == {ledger.chain}
    assert receipts[0].prev == NO_RECEIPT
    assert all(after.prev == digest(before.data) for before, after in zip(rows, receipts[1:], strict=False))
    assert all(before.digest == digest(before.data) for before, _ in pairwise(rows))


def test_an_ended_job_gets_one_receipt_and_takes_no_step(ledger: Ledger, documents: Documents) -> None:
    job = documents.job()
    accept(ledger, documents, job)
    assert ledger.end(job.job.id, 1, JobState.FAILED, "worker died", documents.seal()) is not None
    assert ledger.end(job.job.id, 1, JobState.STOPPED, "again", documents.seal()) is None
    row = ledger.job(job.job.id)
    assert row is not None
    assert (row.state, row.reason) == (JobState.FAILED, "worker died")
    with pytest.raises(ConflictError):
        ledger.commit_step(a_commit(job.job), documents.seal())
    assert ledger.open_jobs() == []
    assert ledger.count_open() == 0


def test_stop_takes_the_place_of_the_open_job_with_a_receipt(ledger: Ledger, documents: Documents) -> None:
    job, stop = documents.job(), documents.job(generation=2, desired=Desired.STOP)
    accept(ledger, documents, job)
    ledger.commit_step(a_commit(job.job), documents.seal())
    stopped = ledger.stop(stop, "enough", documents.seal("enough"))
    assert stopped is not None
    row, changed = stopped
    assert changed
    assert row == ledger.job(job.job.id)
    assert (row.generation, row.state, row.reason, row.next_step, row.data) == (2, JobState.STOPPED, "enough", 1, stop.data)
    assert ledger.stop(stop, "enough", documents.seal()) == (row, False)
    assert len(ledger.receipts(job.job.id)) == 2


def test_stop_of_a_job_that_is_over_writes_no_receipt_and_of_an_unknown_one_nothing(ledger: Ledger, documents: Documents) -> None:
    job, stop = documents.job(), documents.job(generation=2, desired=Desired.STOP)
    assert ledger.stop(stop, "enough", documents.seal()) is None
    accept(ledger, documents, job, steps=1)
    ledger.commit_step(a_commit(job.job, state=JobState.DONE), documents.seal())
    stopped = ledger.stop(stop, "enough", documents.seal())
    assert stopped is not None
    assert stopped[0].state is JobState.DONE
    assert len(ledger.receipts(job.job.id)) == 1


def test_stop_of_a_lower_or_another_document_of_the_generation_is_a_conflict(ledger: Ledger, documents: Documents) -> None:
    accept(ledger, documents, documents.job(generation=2))
    for stop in (documents.job(generation=1, desired=Desired.STOP), documents.job(generation=2, desired=Desired.STOP)):
        with pytest.raises(ConflictError):
            ledger.stop(stop, "enough", documents.seal())


def test_trim_drops_the_oldest_and_never_what_nobody_acknowledged(ledger: Ledger, documents: Documents, outbox: Outbox) -> None:
    job = documents.job()
    accept(ledger, documents, job, steps=10)
    rows = [ledger.commit_step(a_commit(job.job, step), documents.seal()) for step in range(10)]
    assert ledger.trim(0, LATER) == 0
    settled = tuple(Stored(seq=row.seq, digest=row.digest) for row in rows[:6])
    outbox.settle(Ack(node=bytes(32), chain=ledger.chain, issued=0, stored=settled))
    assert ledger.trim(8, LATER) == 2
    assert [row.seq for row in ledger.receipts(job.job.id)] == list(range(2, 10))
    assert ledger.trim(8, LATER) == 0
    assert ledger.trim(0, LATER) == 4
    assert [row.seq for row in ledger.receipts(job.job.id)] == list(range(6, 10))
    assert outbox.waiting() == 4


def test_trim_forgets_jobs_that_are_over_with_their_last_receipt(ledger: Ledger, documents: Documents, outbox: Outbox) -> None:
    over, still_open = documents.job(id=bytes(15) + b"a"), documents.job(id=bytes(15) + b"b")
    accept(ledger, documents, over)
    accept(ledger, documents, still_open, steps=2)
    rows = [
        ledger.commit_step(a_commit(over.job, 0, state=JobState.DONE), documents.seal()),
        ledger.commit_step(a_commit(still_open.job, 0), documents.seal()),
    ]
    settled = tuple(Stored(seq=row.seq, digest=row.digest) for row in rows)
    outbox.settle(Ack(node=bytes(32), chain=ledger.chain, issued=0, stored=settled))
    assert ledger.trim(0, LATER) == 2
    assert ledger.job(over.job.id) is None
    assert ledger.job(still_open.job.id) is not None


def test_a_job_that_is_over_stays_as_long_as_its_document_could_come_again(ledger: Ledger, documents: Documents, outbox: Outbox) -> None:
    job = documents.job()
    accept(ledger, documents, job)
    row = ledger.commit_step(a_commit(job.job, 0, state=JobState.DONE), documents.seal())
    outbox.settle(Ack(node=bytes(32), chain=ledger.chain, issued=0, stored=(Stored(seq=row.seq, digest=row.digest),)))
    assert ledger.trim(0, job.job.start_by) == 1
    assert accept(ledger, documents, job) == (ledger.job(job.job.id), False)
    ledger.trim(0, job.job.start_by + 1)
    assert ledger.job(job.job.id) is None


def test_a_higher_generation_ends_an_open_lower_one_with_a_receipt(ledger: Ledger, documents: Documents) -> None:
    first, second = documents.job(generation=1), documents.job(generation=2)
    accept(ledger, documents, first)
    accept(ledger, documents, second)
    (receipt,) = ledger.receipts(first.job.id)
    notice = receipt_in(receipt.data).notice
    assert notice is not None and notice.text == "superseded"


def test_a_stop_that_came_first_keeps_the_job_out(ledger: Ledger, documents: Documents) -> None:
    run, stop = documents.job(generation=1), documents.job(generation=2, desired=Desired.STOP)
    assert ledger.forbid(stop, "stopped", accepted_ns=0)[1]
    with pytest.raises(ConflictError):
        accept(ledger, documents, run)


def test_without_an_uplink_nothing_waits_for_one(tmp_path: Path, documents: Documents) -> None:
    ledger = Ledger(tmp_path / "alone.db", forwards=False)
    ledger.append(documents.seal())
    assert Outbox(ledger.database).waiting() == 0
    assert ledger.trim(0, LATER) == 1
    ledger.close()


def test_trim_keeps_the_newest_manifest_of_a_name_and_what_open_jobs_need(ledger: Ledger, documents: Documents) -> None:
    old, needed, newest = (documents.manifest(sequence=sequence, module=bytes([sequence]) * 32) for sequence in (1, 2, 3))
    for manifest in (old, needed, newest):
        ledger.take_manifest(manifest)
    ledger.accept(documents.job(), needed, accepted_ns=0, steps=1, superseded=lambda row: documents.seal()).result()
    assert ledger.trim_manifests() == ({old.digest}, {needed.manifest.module, newest.manifest.module})
    assert ledger.manifest(old.digest) is None
    assert not ledger.names_module(old.manifest.module)


def test_receipt_of_no_job_takes_its_place_in_the_chain(ledger: Ledger, documents: Documents, outbox: Outbox) -> None:
    first, second = ledger.append(documents.seal()), ledger.append(documents.seal())
    assert (first.seq, second.seq) == (0, 1)
    assert outbox.waiting() == 2


def test_derived_samples_wait_until_they_are_applied(ledger: Ledger, documents: Documents) -> None:
    job = documents.job()
    accept(ledger, documents, job)
    ledger.commit_step(a_commit(job.job, 0, derived=b"zero"), documents.seal())
    ledger.commit_step(a_commit(job.job, 1), documents.seal())
    ledger.commit_step(a_commit(job.job, 2, derived=b"two"), documents.seal())
    assert ledger.derived() == [(job.job.id, 1, 0, 0, b"zero"), (job.job.id, 1, 2, 0, b"two")]
    ledger.derived_applied(job.job.id, 1, 0, 0).result()
    ledger.derived_applied(job.job.id, 1, 0, 0).result()
    assert [row[2] for row in ledger.derived()] == [2]


def test_relays_are_those_of_the_newest_generation(ledger: Ledger) -> None:
    job, node, other = bytes(16), bytes([1]) * 32, bytes([2]) * 32
    assert ledger.relays(job) == []
    ledger.relayed(job, 1, RelayRow(other, "asked", "")).result()
    ledger.relayed(job, 2, RelayRow(node, "asked", "")).result()
    ledger.relayed(job, 2, RelayRow(node, "refused", "no such channel")).result()
    assert ledger.relays(job) == [RelayRow(node, "refused", "no such channel")]


def test_manifests_of_a_name_come_with_the_highest_sequence_first(ledger: Ledger, documents: Documents) -> None:
    low, high, other = documents.manifest(sequence=2), documents.manifest(sequence=10), documents.manifest(name="other", sequence=99)
    for one in (high, low, other, low):
        ledger.take_manifest(one)
    assert ledger.manifests_of("statistics") == [high.digest, low.digest]
    assert ledger.manifest(low.digest) == low.data
    assert ledger.manifests_of("nothing") == []
    assert ledger.manifest(bytes(32)) is None


def test_open_jobs_are_told_oldest_first_and_all_newest_first(ledger: Ledger, documents: Documents) -> None:
    jobs = [documents.job(id=bytes([number]) * 16) for number in range(4)]
    for when, job in zip((30, 10, 40, 20), jobs, strict=True):
        accept(ledger, documents, job, accepted_ns=when)
    ledger.end(jobs[0].job.id, 1, JobState.STOPPED, "", documents.seal())
    assert [row.accepted_ns for row in ledger.open_jobs()] == [10, 20, 40]
    assert ledger.count_open() == 3
    assert [row.accepted_ns for row in ledger.jobs(3)] == [40, 30, 20]


def test_all_is_there_after_a_restart_and_the_chain_goes_on(tmp_path: Path, documents: Documents) -> None:
    path, job = tmp_path / "ledger.db", documents.job()
    ledger = Ledger(path)
    accept(ledger, documents, job)
    first = ledger.commit_step(a_commit(job.job), documents.seal())
    before, chain = ledger.job(job.job.id), ledger.chain
    ledger.close()
    again = Ledger(path)
    try:
        assert again.set_aside is None
        assert (again.chain, again.job(job.job.id)) == (chain, before)
        second = again.commit_step(a_commit(job.job, 1), documents.seal())
    finally:
        again.close()
    assert (second.seq, receipt_in(second.data).prev) == (1, first.digest)


def test_a_new_ledger_begins_a_chain_of_its_own(ledger: Ledger, tmp_path: Path) -> None:
    other = Ledger(tmp_path / "other.db")
    other.close()
    assert other.chain != ledger.chain
    assert len(other.chain) == 16
