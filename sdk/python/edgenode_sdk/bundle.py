"""A step in one file, for whoever wants to run it again: years later, and on a machine with no network.

    result + Stock --collect--> Materials --write--> FILE --read--> Opened --replay_with--> Replay

    async with await AsyncFleet.discover(home) as fleet:
        materials = await bundle.collect(result, Stock(home=home, fleet=fleet))
    bundle.write(Path("press-7.bundle"), result, materials, trust=home.trust_data())

    opened = bundle.read(Path("press-7.bundle"), home.keyring())
    print(replay.replay_with(opened.result, opened.materials).verdict)

A bundle proves itself: nothing of it is believed that no signature or digest holds (docs/protocol.md, "Replay and bundles").
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from edgenode.clock import SystemClock
from edgenode.errors import (
    CapabilityError,
    ConfigError,
    DigestError,
    EdgenodeError,
    LimitError,
    MalformedError,
    NotFoundError,
    RefusedError,
)
from edgenode.files import write_document
from edgenode.formats import document
from edgenode.formats.bundle import LIMIT, LIMIT_NAME, Bundle
from edgenode.formats.receipt import Core
from edgenode.records import digest
from edgenode.trust.keyring import Keyring, short
from edgenode.trust.verify import reload_job, reload_manifest, reload_trust, verify_job, verify_manifest, verify_signed_receipt
from edgenode_sdk.replay import Materials, Part, Stock, fetch, is_job_of
from edgenode_sdk.result import Result

_MAP = 5  # CBOR's major type of a bundle; a receipt's file is a list


@dataclass(frozen=True, slots=True)
class Opened:
    """A bundle whose every part was checked. ``keyring`` is what judged its documents: the reader's, or the bundle's own word."""

    result: Result
    materials: Materials
    keyring: Keyring


async def collect(result: Result, stock: Stock) -> Materials:
    """Get all of a receipt's step that a bundle holds.

    Raises RefusedError for a receipt that is no step, CapabilityError where the manifest does not share snapshots, and what
    ``replay.fetch`` raises.
    """
    core, signer = _core(result), result.node.public_key
    manifest = await stock.find(Part.MANIFEST, core.manifest, signer=signer)
    _check_shared(manifest)
    job = await stock.find_job(core, signer=signer)
    return replace(await fetch(core, stock, signer=signer), manifest=manifest, job=job)


def write(path: Path, result: Result, materials: Materials, trust: bytes) -> None:
    """Write a bundle that whoever has this trust document will believe.

    Raises what ``collect`` and ``parse`` raise (nothing is written that could not be read), NotFoundError when the materials hold no
    manifest or job, and StorageError.
    """
    _core(result)
    if materials.manifest is None or materials.job is None:
        raise NotFoundError("a bundle holds the signed manifest and job, and they are not here", hint="bundle.collect gets them")
    data = document.encode(
        Bundle(
            receipt=result.verified.data,
            node=result.node_document,
            trust=trust,
            job=materials.job,
            manifest=materials.manifest,
            module=materials.wasm,
            snapshot=materials.snapshot,
            state=materials.state,
        )
    )
    parse(data)
    write_document(path, data)


def is_bundle(path: Path) -> bool:
    """Whether a file is a bundle rather than a receipt, by its first byte. Raises ConfigError when it cannot be read."""
    first = _read(path, 1) if path.is_file() else b""
    return bool(first) and first[0] >> 5 == _MAP


def read(path: Path, keyring: Keyring | None = None) -> Opened:
    """Read a file that ``write`` wrote. Raises ConfigError when it cannot be read, and what ``parse`` raises."""
    return parse(_read(path, LIMIT + 1), keyring)


def parse(data: bytes, keyring: Keyring | None = None) -> Opened:
    """Check every part of a bundle, and judge its documents by ``keyring``, or by the trust document in the bundle itself.

    Roles are judged at the time that each document says it was made. Raises MalformedError, NotUnderstoodError for a bundle of a newer
    version, LimitError past LIMIT bytes, TrustError naming the part that is not what was signed, and CapabilityError where the
    manifest does not let the snapshot leave its node.
    """
    if len(data) > LIMIT:
        raise LimitError(LIMIT_NAME, LIMIT, f"at least {len(data)}", hint="a limit of the format: no bundle is longer")
    bundle = document.decode(Bundle, data, limit=LIMIT, limit_name=LIMIT_NAME)
    with _part("trust document"):
        own = Keyring(reload_trust(bundle.trust).trust)
    keyring = keyring or own
    with _part("receipt or node document"):
        verified = verify_signed_receipt(bundle.receipt, bundle.node, keyring)
        result = Result(verified, bundle.node, SystemClock().now_ns())
        core = _core(result)
    with _part("manifest"):
        _check_digest(bundle.manifest, core.manifest)
        manifest = verify_manifest(bundle.manifest, keyring, reload_manifest(bundle.manifest).manifest.issued).manifest
        if manifest.module != core.module:
            raise DigestError(f"it is of module {short(manifest.module)}, and the step ran {short(core.module)}")
    with _part("job"):
        job = verify_job(bundle.job, keyring, reload_job(bundle.job).job.issued).job
        if not is_job_of(core, bundle.job):
            raise DigestError(f"it is job {short(job.id)}, generation {job.generation}, or has other params than the core names")
    for part, found, name in (
        (Part.MODULE, bundle.module, core.module),
        (Part.SNAPSHOT, bundle.snapshot, core.snapshot),
        (Part.STATE, bundle.state, core.state_before),
    ):
        with _part(part):
            _check_digest(found, name)
    _check_shared(bundle.manifest)
    materials = Materials(bundle.module, bundle.snapshot, bundle.state, job.params, bundle.manifest, bundle.job)
    return Opened(result, materials, keyring)


def _core(result: Result) -> Core:
    if result.core is None:
        raise RefusedError(f"a {result.receipt.kind} receipt: no step was run", hint="only the receipts of steps are bundled and replayed")
    return result.core


def _check_shared(manifest: bytes) -> None:
    about = reload_manifest(manifest).manifest
    if not about.capabilities.share_snapshot:
        raise CapabilityError(
            f"the manifest of {about.name} does not let snapshots leave their node, and a bundle holds one",
            hint="its publisher allows it with share_snapshot = true, for steps that run from then on",
        )


def _check_digest(data: bytes, name: bytes) -> None:
    if digest(data) != name:
        raise DigestError(f"it is {short(digest(data))}, and the core names {short(name)}")


@contextmanager
def _part(name: str) -> Iterator[None]:
    """Say of an error which part of the bundle it is about."""
    try:
        yield
    except LimitError as error:
        raise MalformedError(f"the bundle's {name}: {error.what}") from error
    except EdgenodeError as error:
        raise type(error)(f"the bundle's {name}: {error.what}", hint=error.hint) from error


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", hint="'edgenode receipt bundle R -o FILE' writes one") from error
