"""Every parser of bytes from outside: whatever comes in, an EdgenodeError or a value comes out, and soon.

Each gets arbitrary bytes, and good bytes with a few changes, which come further.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from edgenode.errors import EdgenodeError
from edgenode.formats import cbor, cose, document, httpsig
from edgenode.formats.cose import DocumentType
from edgenode.records import digest
from edgenode.transport import node_api, problem
from edgenode.transport.node_api import Execution, ReceiptItem, encode_item
from edgenode.transport.wire import decode_header, decode_parts, encode_parts, parse_hex, parse_json
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import (
    reload_trust,
    verify_ack,
    verify_job,
    verify_manifest,
    verify_node,
    verify_reading,
    verify_receipt,
    verify_trust,
)

from ..unit.formats.examples import BY_NAME, CORE, EXAMPLES, HUB, NODE, NOW, SUBMITTER
from ..unit.formats.strategies import KINDS, documents

SECONDS = 0.5  # processor time that one input may take
EXAMPLES_EACH = 100

KEYRING = Keyring(reload_trust(BY_NAME["trust"].data).trust)
MEMBER = verify_node(BY_NAME["node"].data, KEYRING, NOW)
BOOT = httpsig.boot_value(HUB.public, "b" * 22)
SIGNED_HEADERS = httpsig.sign(
    "POST",
    "/v1/jobs",
    httpsig.content_digest(b""),
    boot=BOOT,
    nonce="n" * 22,
    created=NOW,
    expires=NOW + 60,
    keyid=SUBMITTER.public,
    signer=SUBMITTER.sign,
)
EXECUTION = Execution(node="ab", name="one", state="done", reason="", steps=1, done_steps=1)

# Bytes that mean something to CBOR: heads of each type, indefinite lengths, tags, breaks.
TELLING = st.sampled_from(
    [bytes([one]) for one in (0x00, 0x18, 0x1B, 0x20, 0x40, 0x5F, 0x60, 0x80, 0x9B, 0xA0, 0xBF, 0xC2, 0xD2, 0xD8, 0xF4, 0xF6, 0xFB, 0xFF)]
)


@st.composite
def changed(draw: st.DrawFn, good: bytes) -> bytes:
    """``good`` with up to four cuts, insertions and replacements."""
    data = bytearray(good)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([0, 0, 1, 1, 2, 8, 40])))
        data[at:end] = draw(TELLING | st.binary(max_size=9))
    return bytes(data)


def hostile(*good: bytes) -> st.SearchStrategy[bytes]:
    return (
        st.binary(max_size=300)
        | st.lists(TELLING | st.binary(max_size=3), max_size=60).map(b"".join)
        | st.sampled_from(good).flatmap(changed)
    )


def survives(parse: Callable[[], Any]) -> None:
    begun = time.process_time()
    try:
        parse()
    except EdgenodeError as error:
        assert len(error.what) < 2000
    assert time.process_time() - begun < SECONDS


@pytest.mark.parametrize("profile", [cbor.DOCUMENT, cbor.ANSWER, cbor.PARTS, cbor.STREAM_ITEM], ids=lambda profile: profile.name)
@settings(max_examples=EXAMPLES_EACH)
@given(data=hostile(*(example.data for example in EXAMPLES), document.encode(CORE)))
def test_decode(profile: cbor.Profile, data: bytes) -> None:
    survives(lambda: cbor.decode(data, profile, limit=1 << 20, limit_name="test.bytes"))


@settings(max_examples=EXAMPLES_EACH)
@given(data=hostile(*(example.data for example in EXAMPLES)))
def test_what_is_decoded_is_what_would_be_encoded(data: bytes) -> None:
    try:
        value = cbor.decode(data, cbor.DOCUMENT, limit=1 << 20, limit_name="test.bytes")
    except EdgenodeError:
        return
    assert cbor.encode(value) == data


@pytest.mark.parametrize("kind", DocumentType)
@settings(max_examples=EXAMPLES_EACH)
@given(data=hostile(*(example.data for example in EXAMPLES)))
def test_cose_parse(kind: DocumentType, data: bytes) -> None:
    survives(lambda: cose.parse(data, kind))


JUDGES: dict[DocumentType, Callable[[bytes], Any]] = {
    DocumentType.MANIFEST: lambda data: verify_manifest(data, KEYRING, NOW),
    DocumentType.JOB: lambda data: verify_job(data, KEYRING, NOW),
    DocumentType.RECEIPT: lambda data: verify_receipt(data, MEMBER),
    DocumentType.ACK: lambda data: verify_ack(data, KEYRING, NOW, hub=HUB.public),
    DocumentType.NODE: lambda data: verify_node(data, KEYRING, NOW),
    DocumentType.TRUST: lambda data: verify_trust(data, None, NOW),
    DocumentType.READING: lambda data: verify_reading(data, KEYRING, node=NODE.public),
}


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
@settings(max_examples=EXAMPLES_EACH)
@given(data=st.data())
def test_no_changed_document_is_believed(example: Any, data: st.DataObject) -> None:
    found = data.draw(changed(example.data))
    if found == example.data:
        return
    with pytest.raises(EdgenodeError):
        JUDGES[example.type](found)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=EXAMPLES_EACH // 2)
@given(data=st.data())
def test_document_decode(kind: Any, data: st.DataObject) -> None:
    found = data.draw(hostile(document.encode(data.draw(documents(kind)))))
    survives(lambda: document.decode(kind, found, limit=1 << 20, limit_name="test.bytes"))


@settings(max_examples=EXAMPLES_EACH)
@given(st.sampled_from(sorted(SIGNED_HEADERS)), st.text(max_size=80), st.data())
def test_httpsig_parse(name: str, text: str, data: st.DataObject) -> None:
    headers = CIMultiDict(SIGNED_HEADERS)
    value = headers[name]
    at = data.draw(st.integers(0, len(value)))
    headers[name] = data.draw(st.sampled_from([text, value[:at] + text + value[at:], value[:at] + text, value[:at]]))
    survives(lambda: httpsig.parse("POST", "/v1/jobs", headers))
    survives(lambda: httpsig.parse(text, text, CIMultiDict(SIGNED_HEADERS)))
    survives(lambda: httpsig.check_body(headers, digest(b"")))
    survives(lambda: httpsig.boot_server(headers[httpsig.BOOT_HEADER]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["title", "detail", "hint", "node", "name", "state", "reason", "steps", "done_steps"]) | st.text(max_size=5),
            inner,
            max_size=9,
        )
    ),
    max_leaves=15,
).map(lambda value: json.dumps(value).encode())


@settings(max_examples=EXAMPLES_EACH)
@given(hostile(b'{"title":"caller","detail":"x","hint":"y"}') | JSON, st.integers(0, 999))
def test_problem(body: bytes, status: int) -> None:
    begun = time.process_time()
    found = problem.from_problem(body, status, "server")
    assert isinstance(found, EdgenodeError) and found.what.isprintable() and len(found.what) <= 1000
    assert time.process_time() - begun < SECONDS


@settings(max_examples=EXAMPLES_EACH)
@given(hostile(encode_parts([b"job", b"manifest"]), encode_parts([b""])))
def test_parts(data: bytes) -> None:
    survives(lambda: decode_parts(data, least=1, most=2, limit=1 << 20, limit_name="test.bytes"))


@settings(max_examples=EXAMPLES_EACH)
@given(st.text(max_size=80), st.binary(max_size=80) | JSON)
def test_texts(text: str, data: bytes) -> None:
    survives(lambda: decode_header(text))
    survives(lambda: parse_hex(text, 16, "it"))
    survives(lambda: parse_json(data))


STREAM = encode_item(ReceiptItem(b"receipt", b"node")) + encode_item(EXECUTION)


@settings(max_examples=EXAMPLES_EACH)
@given(hostile(STREAM) | JSON.map(lambda body: encode_parts([body])), st.lists(st.integers(0, 300), max_size=5))
def test_stream_items(data: bytes, cuts: list[int]) -> None:
    def read() -> None:
        buffer = bytearray()
        for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
            buffer += data[start:end]
            for item in cbor.take_items(buffer, limit=1 << 12, limit_name="test.item_bytes"):
                node_api._stream_item(item)

    survives(read)
