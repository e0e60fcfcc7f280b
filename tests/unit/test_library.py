"""What the library keeps is verified, found by name or pin, and bounded."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from edgenode.errors import DigestError, ExpiredError, ModuleMissingError, NotFoundError
from edgenode.formats.job import ModuleReference
from edgenode.ledger.blobs import Blobs
from edgenode.ledger.store import Ledger
from edgenode.library import KEPT, Library, _Recent
from edgenode.records import digest

from .ledger.documents import NOW, WASM, Documents, accept

BY_NAME = ModuleReference(name="statistics")


@pytest.fixture
def documents() -> Documents:
    return Documents()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


@pytest.fixture
def modules(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "modules", 1 << 20, "ledger.blob_bytes", evict=False)


@pytest.fixture
def library(ledger: Ledger, modules: Blobs) -> Library:
    return Library(ledger, modules)


def test_a_module_is_its_manifest_and_exactly_its_bytes(library: Library, modules: Blobs, documents: Documents) -> None:
    manifest = documents.manifest()
    library.take(manifest)
    modules.put(WASM)
    module = library.module(manifest.digest)
    assert (module.wasm, module.digest, module.manifest, module.manifest_digest) == (WASM, digest(WASM), manifest.manifest, manifest.digest)
    assert library.module(manifest.digest) is module


def test_what_is_missing_can_be_brought_and_asked_for_again(library: Library, modules: Blobs, documents: Documents) -> None:
    manifest = documents.manifest()
    with pytest.raises(ModuleMissingError, match="no module statistics"):
        library.find(BY_NAME, documents.keyring, NOW)
    with pytest.raises(ModuleMissingError, match="no manifest"):
        library.find(ModuleReference(name="statistics", manifest=manifest.digest), documents.keyring, NOW)
    library.take(manifest)
    with pytest.raises(ModuleMissingError, match="the bytes of module statistics") as caught:
        library.module(manifest.digest)
    assert caught.value.retry
    modules.put(WASM)
    assert library.module(manifest.digest).wasm == WASM


def test_a_name_means_the_highest_sequence_and_a_pin_the_one_it_names(library: Library, documents: Documents) -> None:
    low, high = documents.manifest(sequence=1), documents.manifest(sequence=2)
    library.take(high)
    library.take(low)
    assert library.find(BY_NAME, documents.keyring, NOW).digest == high.digest
    assert library.find(ModuleReference(name="statistics", manifest=low.digest), documents.keyring, NOW).digest == low.digest


def test_it_knows_after_a_restart_what_it_took_before(ledger: Ledger, modules: Blobs, documents: Documents) -> None:
    manifest, job = documents.manifest(), documents.job()
    Library(ledger, modules).take(manifest)
    modules.put(WASM)
    accept(ledger, documents, job)
    again = Library(ledger, modules)
    assert again.module(again.find(BY_NAME, documents.keyring, NOW).digest).wasm == WASM
    row, found = again.find_job(job.job.id)
    assert (found, row.digest) == (job, job.digest)


def test_a_module_that_the_disk_has_changed_never_runs(library: Library, modules: Blobs, documents: Documents, tmp_path: Path) -> None:
    manifest = documents.manifest()
    library.take(manifest)
    modules.put(WASM)
    (tmp_path / "modules" / digest(WASM).hex()).write_bytes(WASM + b"\0")
    with pytest.raises(DigestError):
        library.module(manifest.digest)
    modules.put(WASM)
    assert library.module(manifest.digest).wasm == WASM


def test_a_job_is_that_of_its_row_also_when_a_generation_takes_its_place(library: Library, ledger: Ledger, documents: Documents) -> None:
    for generation in (1, 2):
        job = documents.job(generation=generation)
        accept(ledger, documents, job)
        assert library.find_job(job.job.id)[1] == job
    with pytest.raises(NotFoundError):
        library.find_job(bytes(16))


def test_what_is_kept_is_bounded_and_the_rest_is_read_again(library: Library, documents: Documents) -> None:
    manifests = [documents.manifest(sequence=sequence) for sequence in range(KEPT + 10)]
    for one in manifests:
        library.take(one)
    assert [library.manifest(one.digest).digest for one in manifests] == [one.digest for one in manifests]


def test_the_recent_are_the_most_recently_used() -> None:
    recent = _Recent[int](3)
    for number in (1, 2, 3):
        recent.put(bytes([number]), number)
    assert recent.get(b"\1") == 1
    recent.put(b"\4", 4)
    assert [recent.get(bytes([number])) for number in (1, 2, 3, 4)] == [1, None, 3, 4]
    assert recent.get_or(b"\2", lambda: 22) == 22


def test_the_recent_may_be_used_by_many_threads() -> None:
    recent, start = _Recent[bytes](8), threading.Barrier(8)

    def work(seed: int) -> None:
        start.wait()
        for number in range(500):
            name = bytes([(number * seed) % 16])
            assert recent.get_or(name, lambda name=name: name) == name  # type: ignore[misc]

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(work, range(1, 9)))


def test_a_name_means_the_highest_sequence_of_a_publisher_that_still_is_one(library: Library, documents: Documents) -> None:
    manifest = documents.manifest()
    library.take(manifest)
    with pytest.raises(ExpiredError):
        library.find(BY_NAME, documents.keyring, NOW + 10**9)
    with pytest.raises(ExpiredError):
        library.find(ModuleReference(name="statistics", manifest=manifest.digest), documents.keyring, NOW + 10**9)


def test_what_was_trimmed_is_taken_again(library: Library, ledger: Ledger, documents: Documents) -> None:
    low, high = documents.manifest(sequence=1), documents.manifest(sequence=2)
    library.take(low)
    library.take(high)
    library.trim()
    assert ledger.manifest(low.digest) is None
    library.take(low)
    assert ledger.manifest(low.digest) == low.data
