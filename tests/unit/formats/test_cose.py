"""COSE_Sign1 and COSE_Sign: fixed vectors, outside examples, and everything that is not exactly one of ours."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cbor2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edgenode.errors import EdgenodeError, LimitError, MalformedError, SignatureError, UnknownKeyError
from edgenode.formats import cbor, cose
from edgenode.formats.cose import DocumentType
from edgenode.trust.identity import Identity
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import (
    reload_job,
    reload_manifest,
    reload_trust,
    signature_fits,
    verify_ack,
    verify_job,
    verify_manifest,
    verify_node,
    verify_reading,
    verify_receipt,
    verify_trust,
)

from .examples import BY_NAME, EXAMPLES, HUB, JOB_DATA, NODE, NOW, PUBLISHER, ROOT_A, ROOT_B, ROOT_C, SUBMITTER, Example

VECTORS = json.loads((Path(__file__).parents[2] / "vectors" / "documents.json").read_text(encoding="utf-8"))
KEYRING = Keyring(reload_trust(BY_NAME["trust"].data).trust)
MEMBER = verify_node(BY_NAME["node"].data, KEYRING, NOW)

VERIFY: dict[DocumentType, Any] = {
    DocumentType.MANIFEST: lambda data: verify_manifest(data, KEYRING, NOW),
    DocumentType.JOB: lambda data: verify_job(data, KEYRING, NOW),
    DocumentType.RECEIPT: lambda data: verify_receipt(data, MEMBER),
    DocumentType.ACK: lambda data: verify_ack(data, KEYRING, NOW, hub=HUB.public),
    DocumentType.NODE: lambda data: verify_node(data, KEYRING, NOW),
    DocumentType.TRUST: lambda data: verify_trust(data, None, NOW),
    DocumentType.READING: lambda data: verify_reading(data, KEYRING, node=NODE.public),
}

SIGN1 = [example for example in EXAMPLES if example.type is not DocumentType.TRUST]
by_name = pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)


def sign1(protected: bytes, payload: bytes, *, aad: bytes, unprotected: Any = None, by: Identity = SUBMITTER, tag: int = 18) -> bytes:
    """A COSE_Sign1 with a good signature over whatever is wanted."""
    signature = by.sign(cbor2.dumps(["Signature1", protected, aad, payload]))
    return cbor2.dumps(cbor2.CBORTag(tag, [protected, unprotected or {}, payload, signature]))


def header(*, alg: Any = -19, kid: Any = SUBMITTER.public, typ: Any = DocumentType.JOB.media_type, **more: Any) -> bytes:
    return cbor2.dumps({1: alg, 4: kid, 16: typ, **{int(key[1:]): value for key, value in more.items()}}, canonical=True)


def payload_of(data: bytes) -> bytes:
    return bytes(cbor2.loads(data).value[2])


JOB_PAYLOAD = payload_of(JOB_DATA)


def refused(data: bytes, kind: DocumentType = DocumentType.JOB) -> str:
    with pytest.raises(MalformedError) as caught:
        cose.parse(data, kind)
    return caught.value.what


# vectors


@pytest.mark.parametrize("vector", VECTORS["documents"], ids=lambda vector: vector["name"])
def test_a_second_implementation_finds_the_vectors_signatures_good(vector: dict[str, Any]) -> None:
    for signer in vector["signers"]:
        private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(signer["seed"]))
        assert private.public_key().public_bytes_raw().hex() == signer["public_key"]
        structure = bytes.fromhex(signer["sig_structure"])
        assert private.sign(structure).hex() == signer["signature"]  # Ed25519 is deterministic
        assert signer["signature"] in vector["document"] and signer["public_key"] in vector["document"]
        context, *_, aad, payload = cbor2.loads(structure)
        assert context == ("Signature" if vector["type"] == "trust" else "Signature1")
        assert aad.decode() == f"edgenode/1/{vector['type']}" and payload.hex() == vector["payload"]


@pytest.mark.parametrize("vector", VECTORS["documents"], ids=lambda vector: vector["name"])
def test_signs_and_takes_apart_exactly_what_the_vectors_say(vector: dict[str, Any]) -> None:
    kind, payload = DocumentType(vector["type"]), bytes.fromhex(vector["payload"])
    keys = [Identity(bytes.fromhex(signer["seed"])) for signer in vector["signers"]]
    if kind is DocumentType.TRUST:
        made = cose.sign(kind, payload, [(key.public, key.sign) for key in reversed(keys)])
    else:
        made = cose.sign1(kind, payload, keys[0].public, keys[0].sign)
    assert made.hex() == vector["document"]
    signed = cose.parse(made, kind)
    assert signed.payload == payload and signed.type is kind
    told = [(one.kid.hex(), one.signed.hex(), one.signature.hex()) for one in signed.signatures]
    assert told == [(one["public_key"], one["sig_structure"], one["signature"]) for one in vector["signers"]]


def test_the_examples_are_the_vectors() -> None:
    assert {example.name: example.data.hex() for example in EXAMPLES} == {one["name"]: one["document"] for one in VECTORS["documents"]}


# The COSE working group's eddsa-examples/eddsa-sig-01.json: a COSE_Sign1 with Ed25519 and alg EdDSA (-8), kid unprotected, no aad.
WG_PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
WG_DATA = bytes.fromhex(
    "d28445a201270300a10442313154546869732069732074686520636f6e74656e742e58407142fd2ff96d56db85bee905a76ba1d0b7321a95c8c4d3607c5781932b7afb8711497d"
    "fa751bf40b58b3bcc32300b1487f3db34085eef013bf08f4a44d6fef0d"
)


def test_builds_the_sig_structure_as_the_cose_working_group_does() -> None:
    protected, _, payload, signature = cbor2.loads(WG_DATA).value
    structure = cbor.encode(["Signature1", protected, b"", payload])
    assert structure.hex() == "846a5369676e61747572653145a2012703004054546869732069732074686520636f6e74656e742e"
    assert signature_fits(WG_PUBLIC, structure, signature)
    assert not signature_fits(WG_PUBLIC, structure + b"\0", signature)


@pytest.mark.parametrize("kind", DocumentType)
def test_refuses_the_working_group_s_example_for_its_alg_and_headers(kind: DocumentType) -> None:
    refused(WG_DATA, kind)


# one flipped bit


@by_name
def test_no_byte_of_a_document_can_be_changed(example: Example) -> None:
    VERIFY[example.type](example.data)
    for at in range(len(example.data)):
        for flip in (1 << at % 8, 0xFF):
            changed = bytearray(example.data)
            changed[at] ^= flip
            with pytest.raises(EdgenodeError):
                VERIFY[example.type](bytes(changed))


@by_name
def test_no_byte_of_a_document_can_be_left_out_or_put_in(example: Example) -> None:
    for at in range(len(example.data)):
        for changed in (example.data[:at], example.data[:at] + example.data[at + 1 :], example.data[:at] + b"\0" + example.data[at:]):
            with pytest.raises(EdgenodeError):
                VERIFY[example.type](changed)


@by_name
def test_a_document_is_taken_for_no_other_type(example: Example) -> None:
    for kind, verify in VERIFY.items():
        if kind is not example.type:
            with pytest.raises(EdgenodeError):
                verify(example.data)


def test_a_payload_signed_for_one_type_cannot_be_shown_as_another() -> None:
    # Even with the typ of the other: the external_aad is signed too.
    data = sign1(header(typ=DocumentType.JOB.media_type), JOB_PAYLOAD, aad=DocumentType.RECEIPT.aad)
    cose.parse(data, DocumentType.JOB)
    with pytest.raises(SignatureError):
        reload_job(data)


def test_what_signs_nothing_else_is_in_the_signature() -> None:
    assert reload_job(sign1(header(), JOB_PAYLOAD, aad=DocumentType.JOB.aad)).data == JOB_DATA
    for aad in (b"", b"edgenode/1/jo", b"edgenode/2/job"):
        with pytest.raises(SignatureError):
            reload_job(sign1(header(), JOB_PAYLOAD, aad=aad))


# headers

WRONG_HEADERS = {
    "EdDSA instead of Ed25519": header(alg=-8),
    "Ed448": header(alg=-53),
    "ES256": header(alg=-7),
    "alg as a float": header(alg=-19.0),
    "alg as text": header(alg="Ed25519"),
    "alg positive": header(alg=19),
    "no alg": cbor2.dumps({4: SUBMITTER.public, 16: DocumentType.JOB.media_type}),
    "no kid": cbor2.dumps({1: -19, 16: DocumentType.JOB.media_type}),
    "no typ": cbor2.dumps({1: -19, 4: SUBMITTER.public}),
    "empty": b"",
    "empty map": b"\xa0",
    "no map": b"\x83\x01\x04\x10",
    "kid of 31 bytes": header(kid=bytes(31)),
    "kid of 33 bytes": header(kid=bytes(33)),
    "kid as text": header(kid="a" * 32),
    "kid a list": header(kid=[1]),
    "typ of a receipt": header(typ=DocumentType.RECEIPT.media_type),
    "typ in capitals": header(typ=DocumentType.JOB.media_type.upper()),
    "typ as bytes": header(typ=DocumentType.JOB.media_type.encode()),
    "typ as a number": header(typ=16),
    "a content type": header(_3=0),
    "crit": header(_2=[64]),
    "a header of later": header(_64=0),
    "not deterministic": cbor2.dumps({16: DocumentType.JOB.media_type, 4: SUBMITTER.public, 1: -19}),
    "alg twice": b"\xa4\x01\x32\x01\x32" + header()[3:],
    "a byte more": header() + b"\0",
    "indefinite": b"\xbf" + header()[1:] + b"\xff",
    "300 bytes": header(_64=bytes(300)),
    "text keys": cbor2.dumps({"alg": -19, "kid": SUBMITTER.public, "typ": DocumentType.JOB.media_type}, canonical=True),
}


@pytest.mark.parametrize("name", WRONG_HEADERS)
def test_refuses_a_protected_header_that_is_not_the_one(name: str) -> None:
    data = sign1(WRONG_HEADERS[name], JOB_PAYLOAD, aad=DocumentType.JOB.aad)
    with pytest.raises((MalformedError, LimitError)):
        cose.parse(data, DocumentType.JOB)


@pytest.mark.parametrize("unprotected", [{4: b"11"}, {1: -19}, {64: 0}])
def test_refuses_unprotected_headers(unprotected: dict[int, Any]) -> None:
    refused(sign1(header(), JOB_PAYLOAD, aad=DocumentType.JOB.aad, unprotected=unprotected))


@pytest.mark.parametrize("unprotected", [[], b"", 0, False, "a"])
def test_refuses_what_is_no_map_of_unprotected_headers(unprotected: Any) -> None:
    body = list(cbor2.loads(JOB_DATA).value)
    body[1] = unprotected
    assert "protected headers" in refused(cbor2.dumps(cbor2.CBORTag(18, body)))


@pytest.mark.parametrize("at", range(4))
@pytest.mark.parametrize("part", [0, True, "text", [], [b""], {1: 2}])
def test_refuses_parts_of_other_types(at: int, part: Any) -> None:
    body = list(cbor2.loads(JOB_DATA).value)
    body[at] = part
    refused(cbor2.dumps(cbor2.CBORTag(18, body)))


@pytest.mark.parametrize("count", [0, 1, 2, 3, 5])
def test_refuses_another_number_of_parts(count: int) -> None:
    body = [*cbor2.loads(JOB_DATA).value, b"more"]
    assert "is not a COSE document with protected" in refused(cbor2.dumps(cbor2.CBORTag(18, body[:count])))


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_refuses_a_signature_of_another_length(length: int) -> None:
    body = list(cbor2.loads(JOB_DATA).value)
    body[3] = bytes(length)
    assert "64 bytes" in refused(cbor2.dumps(cbor2.CBORTag(18, body)))


def test_refuses_a_detached_payload_and_missing_or_other_tags() -> None:
    protected, _, payload, signature = cbor2.loads(JOB_DATA).value
    refused(cbor2.dumps(cbor2.CBORTag(18, [protected, {}, None, signature])))  # RFC 9052 §4.1: nil
    assert "tag 18" in refused(cbor2.dumps([protected, {}, payload, signature]))
    for tag in (17, 61, 96, 97, 98):
        refused(cbor2.dumps(cbor2.CBORTag(tag, [protected, {}, payload, signature])))


# COSE_Sign

TRUST = BY_NAME["trust"]
TRUST_PAYLOAD = payload_of(TRUST.data)


def signed_by(*signers: Identity) -> list[list[Any]]:
    signed = cbor2.loads(cose.sign(DocumentType.TRUST, TRUST_PAYLOAD, [(one.public, one.sign) for one in signers])).value[3]
    parts = {cbor2.loads(part[0])[4]: list(part) for part in signed}
    return [parts[one.public] for one in signers]


def trust_with(parts: list[list[Any]], body: bytes | None = None) -> bytes:
    body = cbor2.dumps({16: DocumentType.TRUST.media_type}) if body is None else body
    return cbor2.dumps(cbor2.CBORTag(98, [body, {}, TRUST_PAYLOAD, parts]))


def test_signers_stand_in_the_order_of_their_keys_whatever_order_they_signed_in() -> None:
    pairs = [(one.public, one.sign) for one in (ROOT_C, ROOT_A, ROOT_B)]
    data = cose.sign(DocumentType.TRUST, TRUST_PAYLOAD, pairs)
    assert data == cose.sign(DocumentType.TRUST, TRUST_PAYLOAD, pairs[::-1])
    kids = [one.kid for one in cose.parse(data, DocumentType.TRUST).signatures]
    assert kids == sorted(kids) and len(kids) == 3


def test_refuses_signers_out_of_order_or_twice() -> None:
    first, second = sorted((ROOT_A, ROOT_B), key=lambda one: one.public)
    assert trust_with(signed_by(first, second)) == TRUST.data
    for signers in ((second, first), (first, first), (first, second, second)):
        assert "out of order, or two of one key" in refused(
            trust_with([part for one in signers for part in signed_by(one)]), DocumentType.TRUST
        )


def test_a_signer_that_signed_twice_counts_once_even_with_another_signature() -> None:
    (part,) = signed_by(ROOT_A)
    with pytest.raises(MalformedError):
        verify_trust(trust_with([part, [part[0], {}, bytes(64)]]), None, NOW)


@pytest.mark.parametrize("count", [0, 65])
def test_refuses_no_signatures_and_too_many(count: int) -> None:
    parts = signed_by(*sorted((Identity(bytes([n]) * 32) for n in range(count)), key=lambda one: one.public)) if count else []
    assert "1 to 64 signatures" in refused(trust_with(parts), DocumentType.TRUST)


@pytest.mark.parametrize("part", [b"", [], [b"", {}], [b"", {}, b"", b""], [header(), {4: b"x"}, bytes(64)], [header(), {}, bytes(64)], 1])
def test_refuses_what_is_no_cose_signature(part: Any) -> None:
    refused(trust_with([part]), DocumentType.TRUST)


@pytest.mark.parametrize(
    "body", [b"", b"\xa0", cbor2.dumps({16: DocumentType.JOB.media_type}), cbor2.dumps({1: -19, 16: DocumentType.TRUST.media_type})]
)
def test_refuses_another_header_of_the_body(body: bytes) -> None:
    assert "body's protected header" in refused(trust_with(signed_by(ROOT_A), body), DocumentType.TRUST)


def test_a_trust_document_is_a_cose_sign_and_every_other_a_cose_sign1() -> None:
    kind = DocumentType.TRUST
    protected = header(kid=ROOT_A.public, typ=kind.media_type)
    assert "tag 98" in refused(sign1(protected, TRUST_PAYLOAD, aad=kind.aad, by=ROOT_A), kind)
    body = cbor2.dumps({16: DocumentType.JOB.media_type})
    own = cbor2.dumps({1: -19, 4: SUBMITTER.public})
    part = [own, {}, SUBMITTER.sign(cbor2.dumps(["Signature", body, own, DocumentType.JOB.aad, JOB_PAYLOAD]))]
    assert "tag 18" in refused(cbor2.dumps(cbor2.CBORTag(98, [body, {}, JOB_PAYLOAD, [part]])))


def test_a_signature_of_a_cose_sign_is_none_of_a_cose_sign1() -> None:
    """RFC 9052 §4.4: the context string keeps the two apart."""
    signed = cose.parse(TRUST.data, DocumentType.TRUST).signatures[0]
    key = Ed25519PublicKey.from_public_bytes(signed.kid)
    key.verify(signed.signature, signed.signed)
    with pytest.raises(InvalidSignature):
        key.verify(signed.signature, signed.signed.replace(b"\x69Signature", b"\x6aSignature1"))


def test_whose_document_it_is_stands_in_the_kid() -> None:
    swapped = sign1(header(kid=PUBLISHER.public), JOB_PAYLOAD, aad=DocumentType.JOB.aad)  # signed by the submitter
    with pytest.raises(SignatureError):
        reload_job(swapped)
    with pytest.raises(UnknownKeyError):
        verify_receipt(BY_NAME["receipt of a step"].data, verify_other())


def verify_other() -> Any:
    from edgenode.trust.issue import issue

    from .examples import NODE_BODY, REGISTRAR

    other = type(NODE_BODY)(fleet=NODE_BODY.fleet, public_key=bytes(32), name="other", issued=NODE_BODY.issued, expires=NODE_BODY.expires)
    assert other.public_key != NODE.public
    return verify_node(issue(other, REGISTRAR), KEYRING, NOW)


def test_a_reloaded_document_is_one_that_was_signed() -> None:
    assert reload_manifest(BY_NAME["manifest"].data).publisher == PUBLISHER.public
    broken = bytearray(BY_NAME["manifest"].data)
    broken[-1] ^= 1
    with pytest.raises(SignatureError):
        reload_manifest(bytes(broken))
    assert len(SIGN1) == len(EXAMPLES) - 1
