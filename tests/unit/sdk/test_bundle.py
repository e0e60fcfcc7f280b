"""A bundle proves itself: what is not held by a signature or a digest is not in it, and nobody can slip something else in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.errors import (
    CapabilityError,
    ConfigError,
    DigestError,
    EdgenodeError,
    LimitError,
    MalformedError,
    NotFoundError,
    NotUnderstoodError,
    RefusedError,
    RevokedError,
    TrustError,
    UnknownKeyError,
)
from edgenode.formats import cbor, document
from edgenode.formats.bundle import LIMIT, Bundle
from edgenode.formats.trust import Revoked
from edgenode.testing import REPLY, FakeClock, guest
from edgenode.trust.issue import issue, issue_trust
from edgenode.trust.keyring import Keyring
from edgenode_sdk import bundle, saved
from edgenode_sdk.home import YEAR
from edgenode_sdk.replay import Replay, Stock, Verdict, replay_with

from .evidence import SHARED, Evidence

GUEST = guest(REPLY, memory=1)


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    return Evidence(tmp_path_factory.mktemp("evidence"))


@pytest.fixture(scope="module")
def data(evidence: Evidence, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A bundle of a step with params and a state."""
    path = tmp_path_factory.mktemp("written") / "step.bundle"
    result, materials = evidence.step(GUEST, params=b"{}", state=b"before")
    bundle.write(path, result, materials, evidence.home.trust_data())
    return path.read_bytes()


def parts_of(data: bytes) -> Bundle:
    return document.decode(Bundle, data, limit=LIMIT, limit_name="")


def changed(data: bytes, **parts: bytes) -> bytes:
    return document.encode(replace(parts_of(data), **parts))


def test_what_is_written_is_read_and_matches(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "step.bundle"
    path.write_bytes(data)
    assert bundle.is_bundle(path)
    opened = bundle.read(path)
    assert replay_with(opened.result, opened.materials) == Replay(Verdict.MATCH)
    assert (opened.result.node.name, opened.materials.params, opened.materials.state) == ("press-7", b"{}", b"before")


def test_the_readers_own_trust_document_judges(evidence: Evidence, data: bytes, tmp_path: Path) -> None:
    assert bundle.parse(data, evidence.home.keyring()).keyring.fleet == evidence.home.keyring().fleet
    stranger = Evidence(tmp_path)
    with pytest.raises(UnknownKeyError, match="the bundle's receipt or node document"):
        bundle.parse(data, stranger.home.keyring())
    trust = evidence.home.trust().trust
    for role, part in (("publisher", "manifest"), ("submitter", "job"), ("registrar", "receipt or node document")):
        revoked = replace(trust, revoked=Revoked(keys=(evidence.home.identity(role).public,)))
        with pytest.raises(RevokedError, match=f"the bundle's {part}"):
            bundle.parse(data, Keyring(revoked))


def test_a_bundle_is_good_long_after_its_documents_have_expired(tmp_path: Path) -> None:
    long_ago = FakeClock()
    long_ago.advance(-30 * YEAR)
    evidence = Evidence(tmp_path, long_ago)
    result, materials = evidence.step(GUEST)
    bundle.write(tmp_path / "old", result, materials, evidence.home.trust_data())
    assert bundle.read(tmp_path / "old").result.ok
    assert bundle.read(tmp_path / "old", evidence.home.keyring()).result.ok


@pytest.mark.parametrize("part", ["receipt", "node", "trust", "job", "manifest", "module", "snapshot", "state"])
@pytest.mark.parametrize("where", ["start", "middle", "end"])
def test_a_changed_byte_is_refused_naming_its_part(data: bytes, part: str, where: str) -> None:
    found = bytearray(getattr(parts_of(data), part))
    found[{"start": 0, "middle": len(found) // 2, "end": -1}[where]] ^= 1
    with pytest.raises((MalformedError, TrustError), match=f"the bundle's .*{part}"):
        bundle.parse(changed(data, **{part: bytes(found)}))


def test_no_byte_of_a_bundle_may_change(evidence: Evidence, data: bytes) -> None:
    """Every 3rd byte of it, and all of the first hundred: heads, keys and lengths."""
    keyring = evidence.home.keyring()
    for at in [*range(100), *range(100, len(data), 3)]:
        for bit in (1, 128):
            flipped = bytearray(data)
            flipped[at] ^= bit
            for judge in (None, keyring):
                with pytest.raises(EdgenodeError):
                    bundle.parse(bytes(flipped), judge)


@pytest.mark.parametrize("part", ["receipt", "job", "manifest", "module", "snapshot", "state"])
def test_a_good_part_of_another_step_is_refused(evidence: Evidence, data: bytes, part: str, tmp_path: Path) -> None:
    result, materials = evidence.step(guest(f"(nop) {REPLY}"), params=b"[]", state=b"other")
    bundle.write(tmp_path / "other", result, materials, evidence.home.trust_data())
    other = getattr(parts_of((tmp_path / "other").read_bytes()), part)
    with pytest.raises(DigestError):
        bundle.parse(changed(data, **{part: b"" if part == "snapshot" else other}))


def test_a_stopped_job_speaks_for_its_steps_and_another_jobs_params_do_not(evidence: Evidence, data: bytes) -> None:
    submitter = evidence.home.identity("submitter")
    assert bundle.parse(changed(data, job=issue(evidence.job(b"{}", generation=2), submitter))).materials.params == b"{}"
    for job in (evidence.job(b"[]"), replace(evidence.job(b"{}"), id=bytes(16))):
        with pytest.raises(DigestError, match="the bundle's job"):
            bundle.parse(changed(data, job=issue(job, submitter)))


def test_a_trust_document_that_its_own_root_did_not_sign_is_refused(evidence: Evidence, data: bytes) -> None:
    forged = issue_trust(evidence.home.trust().trust, [evidence.node])
    for keyring in (None, evidence.home.keyring()):
        with pytest.raises(TrustError, match="the bundle's trust document"):
            bundle.parse(changed(data, trust=forged), keyring)


def test_a_snapshot_leaves_its_node_only_where_the_manifest_says_so(evidence: Evidence, tmp_path: Path) -> None:
    result, materials = evidence.step(GUEST, capabilities=replace(SHARED, share_snapshot=False))
    with pytest.raises(CapabilityError, match="does not let snapshots leave"):
        bundle.write(tmp_path / "private", result, materials, evidence.home.trust_data())
    assert not list(tmp_path.iterdir())


def test_what_is_no_step_or_not_all_there_is_not_written(evidence: Evidence, tmp_path: Path) -> None:
    result, materials = evidence.step(GUEST)
    trust = evidence.home.trust_data()
    with pytest.raises(RefusedError, match="fault receipt"):
        bundle.write(tmp_path / "fault", evidence.fault(), materials, trust)
    with pytest.raises(NotFoundError, match="signed manifest and job"):
        bundle.write(tmp_path / "part", result, replace(materials, job=None), trust)
    with pytest.raises(DigestError, match="the bundle's snapshot"):
        bundle.write(tmp_path / "wrong", result, replace(materials, snapshot=b""), trust)
    assert not list(tmp_path.iterdir())


async def test_what_is_nowhere_cannot_be_collected(evidence: Evidence) -> None:
    result, _ = evidence.step(GUEST)
    with pytest.raises(RefusedError, match="fault receipt"):
        await bundle.collect(evidence.fault(), Stock())
    with pytest.raises(NotFoundError, match="manifest"):
        await bundle.collect(result, Stock())


# bytes from anybody


def test_keys_of_a_newer_version_are_refused_below_64_and_passed_over_above(data: bytes) -> None:
    values = dict(cbor.decode(data, cbor.DOCUMENT, limit=LIMIT, limit_name=""))
    assert bundle.parse(cbor.encode(values | {64: b"later", 100: [1, 2]})).result.ok
    with pytest.raises(NotUnderstoodError, match="key 9"):
        bundle.parse(cbor.encode(values | {9: b"later"}))
    with pytest.raises(MalformedError, match="no manifest"):
        bundle.parse(cbor.encode({key: value for key, value in values.items() if key != 5}))


@pytest.mark.parametrize(
    "hostile",
    [
        lambda data: b"",
        lambda data: b"\xa0",
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: b"\xbb" + b"\xff" * 8,  # a map of 2^64 - 1 pairs
        lambda data: b"\xa1\x01\x5b" + b"\x7f" + b"\xff" * 7,  # a receipt of 2^63 bytes
        lambda data: b"\xa1\x06\x5a\x7f\xff\xff\xff" + b"\0" * 100,
        lambda data: b"\xa1\x18\x40" + b"\x81" * 1_000_000 + b"\0",  # a million lists in one another, under a key to be passed over
        lambda data: b"\xa1\x18\x40\x9a\x00\x0f\x42\x40" + b"\0" * 1_000_000,  # a million items
        lambda data: b"\xbf" + data[1:] + b"\xff",  # indefinite
        lambda data: cbor.encode([data]),
        lambda data: cbor.encode(dict.fromkeys(range(1, 9), b"x")),
        lambda data: cbor.encode(dict.fromkeys(range(1, 9), 1)),
        lambda data: changed(data, receipt=parts_of(data).node),
    ],
)
def test_hostile_bytes_are_refused(data: bytes, hostile: Callable[[bytes], bytes]) -> None:
    with pytest.raises((MalformedError, LimitError)):
        bundle.parse(hostile(data))


def test_a_file_is_read_no_further_than_the_longest_bundle(tmp_path: Path) -> None:
    path = tmp_path / "endless"
    with path.open("wb") as file:
        file.write(b"\xa8")
        file.truncate(100 * LIMIT)  # a hole: it takes no disk
    assert bundle.is_bundle(path)
    with pytest.raises(LimitError, match=r"formats\.bundle_bytes"):
        bundle.read(path)


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no-such-file"):
        bundle.read(tmp_path / "no-such-file")
    assert not bundle.is_bundle(tmp_path) and not bundle.is_bundle(tmp_path / "no-such-file")


def test_a_receipt_file_is_no_bundle(evidence: Evidence, tmp_path: Path) -> None:
    assert not bundle.is_bundle(saved.save(evidence.fault(), tmp_path))
