"""Which modules and jobs this node has, verified once and kept: manifests and jobs from the ledger, wasm from the blobs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

from edgenode.errors import EdgenodeError, ModuleMissingError, NotFoundError, RefusedError, TrustError
from edgenode.formats.job import ModuleReference
from edgenode.ledger.blobs import Blobs
from edgenode.ledger.store import JobRow, Ledger
from edgenode.records import digest
from edgenode.trust.keyring import Keyring, short
from edgenode.trust.verify import (
    VerifiedJob,
    VerifiedManifest,
    VerifiedModule,
    recheck_manifest,
    reload_job,
    reload_manifest,
    verify_module,
)

T = TypeVar("T")

_BRING = "submit the job together with the module and its manifest"

KEPT = 64  # modules and manifests in memory
KEPT_JOBS = 1024


class Library:
    def __init__(self, ledger: Ledger, modules: Blobs) -> None:
        self._ledger, self._modules = ledger, modules
        self._manifests = _Recent[VerifiedManifest](KEPT)
        self._loaded = _Recent[VerifiedModule](KEPT)
        self._jobs = _Recent[VerifiedJob](KEPT_JOBS)
        self._keeping = threading.Lock()  # what is trimmed is not taken meanwhile

    def take(self, manifest: VerifiedManifest) -> None:
        """Keep a manifest that was just verified."""
        with self._keeping:
            if self._manifests.get(manifest.digest) is None:
                self._ledger.take_manifest(manifest)
                self._manifests.put(manifest.digest, manifest)

    def put(self, wasm: bytes) -> None:
        """Keep a binary that a manifest here names. Raises RefusedError for any other: nobody fills the disk with what nobody signed."""
        name = digest(wasm)
        if not self._ledger.names_module(name):
            raise RefusedError(f"no manifest here names module {short(name)}", hint="submit its job first: that brings the signed manifest")
        with self._keeping:
            self._modules.put(wasm)

    def trim(self) -> int:
        """Let go of manifests that no open job needs, but the newest of each name, and of the modules that none names; bytes freed."""
        with self._keeping:
            gone, needed = self._ledger.trim_manifests()
            for name in gone:
                self._manifests.drop(name)
                self._loaded.drop(name)
            return self._modules.keep_only(needed)

    def accepted(self, job: VerifiedJob, module: VerifiedModule) -> None:
        """A job was accepted, and its manifest with it: see to it that the module's bytes stay, and remember the job as verified."""
        with self._keeping:
            self._modules.put(module.wasm)
        self._jobs.put(job.digest, job)

    def known(self, name: bytes) -> VerifiedManifest | None:
        """The manifest with this digest, if its signature was verified since the start."""
        return self._manifests.get(name)

    def find(self, reference: ModuleReference, keyring: Keyring, now: int) -> VerifiedManifest:
        """The manifest that a job means: the pinned one, or that of the highest sequence whose publisher may still publish.

        Raises ModuleMissingError when this node has not got it, TrustError when its publisher or the module is not trusted any more.
        """
        if reference.manifest is not None:
            return recheck_manifest(self.manifest(reference.manifest), keyring, now)
        refusal: EdgenodeError = ModuleMissingError(f"no module {reference.name} is here", hint=_BRING)
        for name in self._ledger.manifests_of(reference.name):
            try:
                return recheck_manifest(self.manifest(name), keyring, now)
            except TrustError as error:
                refusal = error
        raise refusal

    def manifest(self, name: bytes) -> VerifiedManifest:
        def load() -> VerifiedManifest:
            data = self._ledger.manifest(name)
            if data is None:
                raise ModuleMissingError(f"no manifest {short(name)} is here", hint=_BRING)
            return reload_manifest(data)

        return self._manifests.get_or(name, load)

    def module(self, manifest: bytes) -> VerifiedModule:
        """The module of the manifest with this digest. Raises ModuleMissingError when its bytes are not here."""

        def load() -> VerifiedModule:
            verified = self.manifest(manifest)
            wasm = self._modules.get(verified.manifest.module)
            if wasm is None:
                raise ModuleMissingError(f"the bytes of module {verified.manifest.name}, {short(verified.manifest.module)}, are not here")
            return verify_module(wasm, verified)

        return self._loaded.get_or(manifest, load)

    def job(self, row: JobRow) -> VerifiedJob:
        return self._jobs.get_or(row.digest, lambda: reload_job(row.data))

    def find_job(self, job: bytes) -> tuple[JobRow, VerifiedJob]:
        row = self._ledger.job(job)
        if row is None:
            raise NotFoundError(f"no job {job.hex()} is here")
        return row, self.job(row)


class _Recent(Generic[T]):
    """The most recently used values by name, at most ``limit``, for several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._values: OrderedDict[bytes, T] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, name: bytes) -> T | None:
        with self._lock:
            if name in self._values:
                self._values.move_to_end(name)
                return self._values[name]
            return None

    def put(self, name: bytes, value: T) -> None:
        with self._lock:
            self._values[name] = value
            while len(self._values) > self._limit:
                self._values.popitem(last=False)

    def drop(self, name: bytes) -> None:
        with self._lock:
            self._values.pop(name, None)

    def get_or(self, name: bytes, load: Callable[[], T]) -> T:
        value = self.get(name)
        if value is None:
            value = load()
            self.put(name, value)
        return value
