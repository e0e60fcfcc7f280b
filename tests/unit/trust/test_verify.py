"""Who is believed, and who is not: keys, roles, times, revocations, and TUF's rules for the trust document."""

from __future__ import annotations

import copy
import dataclasses
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgenode.errors import (
    DigestError,
    ExpiredError,
    MalformedError,
    RevokedError,
    RoleError,
    RollbackError,
    SignatureError,
    TrustError,
    UnknownKeyError,
)
from edgenode.formats.receipt import TrustState
from edgenode.formats.trust import Grant, Revoked, Role, Roots, Trust
from edgenode.records import digest
from edgenode.trust import verify
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue, issue_trust
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import (
    VerifiedModule,
    VerifiedTrust,
    reload_trust,
    signature_fits,
    unsigned_module,
    verify_ack,
    verify_job,
    verify_manifest,
    verify_module,
    verify_node,
    verify_reading,
    verify_receipt,
    verify_trust,
)

from ..formats import examples
from ..formats.examples import (
    ACK,
    FLEET,
    HUB,
    JOB,
    MANIFEST,
    NODE,
    NODE_BODY,
    NOW,
    PUBLISHER,
    READING,
    RECEIPT,
    REGISTRAR,
    ROOT_A,
    ROOT_B,
    ROOT_C,
    SUBMITTER,
    TRUST,
    WASM,
    YEAR,
)

STRANGER = Identity(b"\x63" * 32)


def keyring(trust: Trust = TRUST) -> Keyring:
    return Keyring(trust)


def granted(role: Role, key: Identity, expires: int = NOW + YEAR) -> Keyring:
    return keyring(dataclasses.replace(TRUST, grants=(Grant(role=role, public_key=key.public, name="one", expires=expires),)))


def revoking(*keys: Identity, modules: tuple[bytes, ...] = ()) -> Keyring:
    return keyring(dataclasses.replace(TRUST, revoked=Revoked(keys=tuple(key.public for key in keys), modules=modules)))


# Each document that a role signs: the role, its holder, the body, and how it is judged.
Judge = Callable[[bytes, Keyring, int], Any]
SIGNED: dict[str, tuple[Role, Identity, Any, Judge]] = {
    "manifest": (Role.PUBLISHER, PUBLISHER, MANIFEST, verify_manifest),
    "job": (Role.SUBMITTER, SUBMITTER, JOB, verify_job),
    "node": (Role.REGISTRAR, REGISTRAR, NODE_BODY, verify_node),
    "ack": (Role.HUB, HUB, ACK, lambda data, ring, now: verify_ack(data, ring, now, hub=HUB.public)),
}
each = pytest.mark.parametrize("name", SIGNED)


@each
def test_a_key_with_the_role_is_believed(name: str) -> None:
    role, key, body, judge = SIGNED[name]
    judge(issue(body, key), granted(role, key), NOW)


@each
def test_nobody_is_believed_by_default(name: str) -> None:
    _, key, body, judge = SIGNED[name]
    with pytest.raises(UnknownKeyError):
        judge(issue(body, key), keyring(dataclasses.replace(TRUST, grants=())), NOW)
    with pytest.raises(UnknownKeyError):
        judge(issue(body, STRANGER), keyring(), NOW)


@each
def test_each_other_role_is_refused(name: str) -> None:
    role, key, body, judge = SIGNED[name]
    for other in Role:
        if other is not role:
            with pytest.raises(RoleError, match=f"is {other}, not {role}"):
                judge(issue(body, key), granted(other, key), NOW)


@each
def test_a_grant_ends_in_the_second_that_it_names(name: str) -> None:
    role, key, body, judge = SIGNED[name]
    judge(issue(body, key), granted(role, key, NOW + 1), NOW)
    with pytest.raises(ExpiredError):
        judge(issue(body, key), granted(role, key, NOW), NOW)


@each
def test_a_revoked_key_is_refused_whatever_it_was_granted(name: str) -> None:
    _, key, body, judge = SIGNED[name]
    with pytest.raises(RevokedError):
        judge(issue(body, key), revoking(key), NOW)


@each
def test_the_root_signs_nothing_but_the_trust_document(name: str) -> None:
    _, _, body, judge = SIGNED[name]
    with pytest.raises(TrustError):
        judge(issue(body, ROOT_A), keyring(), NOW)


@each
def test_a_signature_by_another_key_does_not_fit(name: str) -> None:
    _, key, body, judge = SIGNED[name]
    data = bytearray(issue(body, key))
    data[-64:] = issue(body, STRANGER)[-64:]
    with pytest.raises(SignatureError):
        judge(bytes(data), keyring(), NOW)


def test_documents_of_another_fleet_are_refused() -> None:
    for body, key, judge in ((JOB, SUBMITTER, verify_job), (NODE_BODY, REGISTRAR, verify_node)):
        with pytest.raises(UnknownKeyError, match="fleet"):
            judge(issue(dataclasses.replace(body, fleet=bytes(16)), key), keyring(), NOW)


def test_a_node_document_ends_and_a_revoked_node_is_none() -> None:
    data = issue(dataclasses.replace(NODE_BODY, expires=NOW + 1), REGISTRAR)
    verify_node(data, keyring(), NOW)
    with pytest.raises(ExpiredError):
        verify_node(data, keyring(), NOW + 1)
    with pytest.raises(RevokedError):
        verify_node(issue(NODE_BODY, REGISTRAR), revoking(NODE), NOW)


def test_a_revoked_module_is_refused_with_its_manifest() -> None:
    with pytest.raises(RevokedError, match="module"):
        verify_manifest(issue(MANIFEST, PUBLISHER), revoking(modules=(digest(WASM),)), NOW)


def test_a_receipt_is_of_the_node_that_its_document_names() -> None:
    member = verify_node(issue(NODE_BODY, REGISTRAR), keyring(), NOW)
    assert verify_receipt(issue(RECEIPT, NODE), member).receipt == RECEIPT
    with pytest.raises(UnknownKeyError):
        verify_receipt(issue(RECEIPT, STRANGER), member)


def test_a_reading_is_the_word_of_the_node_that_it_names() -> None:
    assert verify_reading(issue(READING, NODE), keyring(), node=NODE.public).reading == READING
    for data, node in ((issue(READING, STRANGER), NODE), (issue(READING, NODE), STRANGER), (issue(READING, STRANGER), STRANGER)):
        with pytest.raises(UnknownKeyError):
            verify_reading(data, keyring(), node=node.public)
    with pytest.raises(RevokedError):
        verify_reading(issue(READING, NODE), revoking(NODE), node=NODE.public)


@pytest.mark.parametrize("part", ["summary", "alerts"])
def test_a_receipt_carries_the_summary_and_alerts_that_its_core_names(part: str) -> None:
    changes: dict[str, Any] = {part: b"another"}
    changed = dataclasses.replace(RECEIPT, **changes)
    member = verify_node(issue(NODE_BODY, REGISTRAR), keyring(), NOW)
    with pytest.raises(DigestError):
        verify_receipt(issue(changed, NODE), member)
    with pytest.raises(MalformedError):
        verify_receipt(issue(dataclasses.replace(RECEIPT, core=b"\xa0"), NODE), member)


def test_an_acknowledgement_is_of_the_hub_that_was_asked() -> None:
    other = dataclasses.replace(
        TRUST, grants=tuple(Grant(role=Role.HUB, public_key=k.public, name="h", expires=NOW + 1) for k in (HUB, STRANGER))
    )
    with pytest.raises(UnknownKeyError, match="not by hub"):
        verify_ack(issue(ACK, STRANGER), keyring(other), NOW, hub=HUB.public)


def test_a_module_is_the_bytes_that_its_manifest_names() -> None:
    manifest = verify_manifest(issue(MANIFEST, PUBLISHER), keyring(), NOW)
    assert verify_module(WASM, manifest).wasm == WASM
    for wasm in (b"", WASM + b"\0", WASM[:-1] + b"\1"):
        with pytest.raises(DigestError):
            verify_module(wasm, manifest)


# the trust document


def signed(trust: Trust = TRUST, *by: Identity) -> bytes:
    return issue_trust(trust, by or (ROOT_A, ROOT_B))


def current(trust: Trust = TRUST, *by: Identity) -> VerifiedTrust:
    return reload_trust(signed(trust, *by))


def test_a_threshold_of_root_keys_signs() -> None:
    assert verify_trust(signed(), None, NOW).trust == TRUST
    for pair in ((ROOT_A, ROOT_C), (ROOT_B, ROOT_C), (ROOT_A, ROOT_B, ROOT_C), (ROOT_A, ROOT_B, STRANGER)):
        verify_trust(signed(TRUST, *pair), None, NOW)
    for few in ((ROOT_A,), (ROOT_A, STRANGER), (STRANGER, REGISTRAR)):
        with pytest.raises(SignatureError, match="needs 2"):
            verify_trust(signed(TRUST, *few), None, NOW)


def test_one_key_twice_does_not_make_a_threshold() -> None:
    with pytest.raises(MalformedError, match="two of one key"):
        verify_trust(signed(TRUST, ROOT_A, ROOT_A), None, NOW)


def test_a_bad_signature_beside_enough_good_ones_does_no_harm_and_counts_for_nothing() -> None:
    data = bytearray(signed(TRUST, ROOT_A, ROOT_B, ROOT_C))
    data[-1] ^= 1
    verify_trust(bytes(data), None, NOW)
    data = bytearray(signed())
    data[-1] ^= 1
    with pytest.raises(SignatureError, match="has 1 good"):
        verify_trust(bytes(data), None, NOW)


def test_a_version_never_goes_down() -> None:
    for version in (1, 2):
        with pytest.raises(RollbackError):
            verify_trust(signed(dataclasses.replace(TRUST, version=version)), current(), NOW)
    assert verify_trust(signed(dataclasses.replace(TRUST, version=9)), current(), NOW).trust.version == 9


def test_one_version_has_one_content() -> None:
    verify_trust(signed(), current(), NOW)  # the very same bytes
    for other in (signed(dataclasses.replace(TRUST, issued=NOW + 1)), signed(TRUST, ROOT_A, ROOT_C)):
        with pytest.raises(RollbackError):
            verify_trust(other, current(), NOW)


def test_an_expired_document_freezes_nobody() -> None:
    for expires in (NOW, NOW - 1):
        old = dataclasses.replace(TRUST, version=4, expires=expires)
        with pytest.raises(ExpiredError):
            verify_trust(signed(old), current(), NOW)
        assert Keyring(reload_trust(signed(old)).trust).state(NOW) is TrustState.EXPIRED  # work that was admitted goes on
        with pytest.raises(ExpiredError):
            Keyring(reload_trust(signed(old)).trust).check_fresh(NOW)
    keyring().check_fresh(NOW)


def test_another_fleet_is_another_fleet_even_with_the_same_roots() -> None:
    with pytest.raises(UnknownKeyError, match="not of this fleet"):
        verify_trust(signed(dataclasses.replace(TRUST, fleet=bytes(16), version=4)), current(), NOW)


def test_new_roots_are_signed_by_the_old_and_the_new() -> None:
    new = dataclasses.replace(TRUST, version=4, roots=Roots(threshold=1, keys=(STRANGER.public,)))
    with pytest.raises(SignatureError):
        verify_trust(signed(new, STRANGER), current(), NOW)  # the new alone: anybody could
    with pytest.raises(SignatureError):
        verify_trust(signed(new, ROOT_A, ROOT_B), current(), NOW)  # the old alone: nobody has the new key
    with pytest.raises(SignatureError):
        verify_trust(signed(new, ROOT_A, STRANGER), current(), NOW)  # too few of the old
    rotated = verify_trust(signed(new, ROOT_A, ROOT_B, STRANGER), current(), NOW)
    assert verify_trust(signed(dataclasses.replace(new, version=5), STRANGER), rotated, NOW).trust.version == 5
    with pytest.raises(SignatureError):
        verify_trust(signed(dataclasses.replace(TRUST, version=6)), rotated, NOW)  # the old roots are none any more


def test_a_lower_threshold_is_not_one_that_the_document_may_give_itself() -> None:
    with pytest.raises(SignatureError):
        verify_trust(signed(dataclasses.replace(TRUST, version=4, roots=Roots(threshold=1, keys=TRUST.roots.keys)), ROOT_A), current(), NOW)


def test_the_first_document_is_of_the_root_that_came_with_the_device() -> None:
    verify_trust(signed(), None, NOW, root=ROOT_C.public)
    with pytest.raises(UnknownKeyError, match="not among"):
        verify_trust(signed(), None, NOW, root=STRANGER.public)


def test_roles_are_those_that_are_granted_now() -> None:
    ring = keyring()
    assert ring.roles(SUBMITTER.public, NOW) == {Role.SUBMITTER} and ring.fleet == FLEET
    assert ring.roles(SUBMITTER.public, NOW + YEAR) == ring.roles(STRANGER.public, NOW) == frozenset()
    assert revoking(SUBMITTER).roles(SUBMITTER.public, NOW) == frozenset()


# RFC 8032 §7.1: tests 1, 2, 3 and SHA(abc)
RFC_8032 = [
    (
        "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
        "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
        "",
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
    ),
    (
        "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
        "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
        "72",
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
    ),
    (
        "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
        "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
        "af82",
        "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
    ),
    (
        "833fe62409237b9d62ec77587520911e9a759cec1d19755b7da901b96dca3d42",
        "ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf",
        "ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
        "dc2a4459e7369633a52b1bf277839a00201009a3efbf3ecb69bea2186c26b58909351fc9ac90b3ecfdfbc7c66431e0303dca179c138ac17ad9bef1177331a704",
    ),
]
ORDER = 2**252 + 27742317777372353535851937790883648493
# Points of order 1, 2, 4 and 8 (RFC 8032 §5.1.7 lets a cofactored verifier take them): with such a key one signature fits many messages.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
]


@pytest.mark.parametrize(("seed", "public", "message", "signature"), RFC_8032)
def test_signs_and_verifies_as_rfc_8032_7_1(seed: str, public: str, message: str, signature: str) -> None:
    key, data = Identity(bytes.fromhex(seed)), bytes.fromhex(message)
    assert key.public.hex() == public and key.sign(data).hex() == signature
    good = bytes.fromhex(signature)
    assert signature_fits(key.public, data, good)
    assert not signature_fits(key.public, data + b"\0", good)
    assert not signature_fits(STRANGER.public, data, good)


@pytest.mark.parametrize("times", [1, 2, 7])
def test_refuses_an_s_that_is_not_canonical(times: int) -> None:
    good = SUBMITTER.sign(b"message")
    s = int.from_bytes(good[32:], "little") + times * ORDER
    assert not signature_fits(SUBMITTER.public, b"message", good[:32] + s.to_bytes(32, "little"))


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_refuses_keys_and_commitments_of_small_order(point: str) -> None:
    small = bytes.fromhex(point)
    for r in map(bytes.fromhex, SMALL_ORDER):
        for message in (b"", b"one", b"another"):
            assert not signature_fits(small, message, r + bytes(32))
    assert not signature_fits(SUBMITTER.public, b"one", small + bytes(32))


@pytest.mark.parametrize(
    ("key", "signature"),
    [
        (b"", bytes(64)),
        (bytes(31), bytes(64)),
        (bytes(33), bytes(64)),
        (b"\xff" * 32, bytes(64)),
        (NODE.public, b""),
        (NODE.public, bytes(63)),
        (NODE.public, bytes(65)),
    ],
)
def test_keys_and_signatures_of_other_lengths_do_not_fit(key: bytes, signature: bytes) -> None:
    assert not signature_fits(key, b"message", signature)


# Verified values


@pytest.mark.parametrize("kind", [getattr(verify, name) for name in dir(verify) if name.startswith("Verified")])
def test_nobody_else_makes_a_verified_value(kind: Any) -> None:
    values = [None] * (len(dataclasses.fields(kind)))
    for proof in (None, True, object(), verify._Proof()):
        with pytest.raises(TypeError, match=r"made only by trust\.verify"):
            kind(proof, *values)


def test_a_verified_value_cannot_be_given_other_bytes() -> None:
    module = unsigned_module(WASM, MANIFEST)
    with pytest.raises((ValueError, TypeError)):
        dataclasses.replace(module, wasm=b"evil")  # type: ignore[call-arg]  # mypy knows it too
    with pytest.raises(dataclasses.FrozenInstanceError):
        module.wasm = b"evil"  # type: ignore[misc]
    assert copy.copy(module) == module and isinstance(module, VerifiedModule)


def test_mypy_refuses_bytes_where_a_verified_module_is_wanted(tmp_path: Path) -> None:
    snippet = tmp_path / "snippet.py"
    snippet.write_text(
        "from edgenode.trust.verify import VerifiedModule\n\n\ndef run(module: VerifiedModule) -> None: ...\n\n\nrun(b'wasm')\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file=", "--follow-imports=silent", "--ignore-missing-imports", str(snippet)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=examples.__file__.split("/tests/")[0])
    assert 'incompatible type "bytes"; expected "VerifiedModule"' in found.stdout, found.stdout + found.stderr
