"""Document classes <-> maps: bounds, keys that must be understood, and one encoding for each value."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgenode.errors import LimitError, MalformedError
from edgenode.formats import cbor, cose, document
from edgenode.formats.cose import DocumentType
from edgenode.formats.job import Inputs, Job, Label, ModuleReference, Selector, Wanted, WindowKind, WindowSpec
from edgenode.formats.manifest import Manifest
from edgenode.formats.receipt import Ack, Core, Notice, Receipt, ReceiptKind, Rejected, Stored
from edgenode.formats.trust import Grant, Revoked, Role, Roots, Trust
from edgenode.records import MAX_INT, Capabilities, Limits, Outcome, OutcomeKind, Window
from edgenode.trust.issue import issue, issue_trust
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import reload_trust, verify_manifest, verify_trust

from . import examples
from .examples import ACK, CORE, EXAMPLES, JOB, MANIFEST, NODE_BODY, NOW, PUBLISHER, READING, RECEIPT, ROOT_A, ROOT_B, STOP, TRUST
from .strategies import KINDS, documents

BODIES = (MANIFEST, JOB, CORE, RECEIPT, STOP, ACK, NODE_BODY, READING, TRUST)


def read(kind: Any, data: bytes) -> Any:
    return document.decode(kind, data, limit=1 << 22, limit_name="test.bytes")


def refused(body: Any, changes: dict[int, Any]) -> str:
    """What is said of a document whose map has been changed; None takes a key out."""
    told = {**document.to_map(body), **changes}
    with pytest.raises(MalformedError) as caught:
        read(type(body), cbor.encode({key: value for key, value in told.items() if value is not None}))
    return caught.value.what


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_every_document_comes_back_as_it_went(kind: Any, data: st.DataObject) -> None:
    body = data.draw(documents(kind))
    encoded = document.encode(body)
    assert read(kind, encoded) == body
    assert document.encode(read(kind, encoded)) == encoded
    assert set(document.to_json(body)) == {field.name for field in dataclasses.fields(kind)}


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_every_required_key_is_missed(body: Any) -> None:
    for field in dataclasses.fields(body):
        if field.default is dataclasses.MISSING:
            assert f"has no {field.name} (key {field.metadata['key']})" in refused(body, {field.metadata["key"]: None})


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_every_field_refuses_values_of_other_types(body: Any) -> None:
    for field in dataclasses.fields(body):
        number = field.metadata["key"]
        own = document.to_map(body).get(number)
        if own is None:
            continue
        for other in (0, True, b"\0", "x", ["x"], {1: "x"}):
            if type(other) is not type(own):
                assert refused(body, {number: other})


INT_BOUNDS = [
    (MANIFEST, 2, 8, MAX_INT),
    (MANIFEST, 5, 0, MAX_INT),
    (JOB, 3, 1, MAX_INT),
    (JOB, 13, 2, 10_000),
    (JOB, 16, 0, 100),
    (JOB, 18, 1, 1_000_000),
    (TRUST, 2, 1, MAX_INT),
    (RECEIPT, 3, 0, MAX_INT),
    (CORE, 21, 0, MAX_INT),
]


@pytest.mark.parametrize(("body", "number", "low", "high"), INT_BOUNDS)
def test_integers_stay_within_their_bounds(body: Any, number: int, low: int, high: int) -> None:
    for value in (low, high):
        read(type(body), cbor.encode({**document.to_map(body), number: value}))
    assert " not in " in refused(body, {number: high + 1})
    if low == 1:
        assert " not in " in refused(body, {number: 0})


@pytest.mark.parametrize(("body", "number", "size"), [(JOB, 1, 16), (JOB, 2, 16), (MANIFEST, 1, 32), (NODE_BODY, 2, 32), (CORE, 20, 32)])
def test_keys_ids_and_digests_have_one_length(body: Any, number: int, size: int) -> None:
    for other in (0, size - 1, size + 1, 2 * size):
        assert f"has {other} bytes, not {size}" in refused(body, {number: bytes(other)})


@pytest.mark.parametrize(("body", "number", "longest"), [(NODE_BODY, 3, 63), (MANIFEST, 4, 32), (JOB, 12, 64), (CORE, 19, 64)])
def test_text_is_measured_in_bytes(body: Any, number: int, longest: int) -> None:
    read(type(body), cbor.encode({**document.to_map(body), number: "x" * longest}))
    assert "more than" in refused(body, {number: "x" * (longest + 1)})
    assert "more than" in refused(body, {number: "é" * (longest // 2 + 1)})


def test_lists_have_a_longest_length_and_bounded_members() -> None:
    assert "at most 64" in refused(MANIFEST, {9: {1: ["a"] * 65}})
    assert "more than 256" in refused(MANIFEST, {9: {1: ["a" * 257]}})
    assert "not 32" in refused(JOB, {7: {1: [bytes(31)]}})
    assert "at most 32" in refused(JOB, {7: {2: [{1: "a", 2: "b"}] * 33}})


@pytest.mark.parametrize("name", ["", "A", "-a", "a b", "a/b", "../a", "a" * 65, "a\n", "é", "٣"])
def test_a_module_s_name_fits_its_pattern(name: str) -> None:
    assert refused(MANIFEST, {3: name})
    assert refused(JOB, {6: {1: name}})


@pytest.mark.parametrize("value", ["", "Run", "run ", "pause"])
def test_an_enumeration_holds_only_what_it_names(value: str) -> None:
    assert "not one of run, stop" in refused(JOB, {4: value})


@pytest.mark.parametrize("body", BODIES, ids=lambda body: type(body).__name__)
def test_keys_below_64_must_be_understood_and_higher_ones_are_passed_over(body: Any) -> None:
    known = {field.metadata["key"] for field in dataclasses.fields(body)}
    for number in {0, max(known) + 1, 63}:
        assert f"has key {number}, which this version does not understand" in refused(body, {number: 1})
    for number in (64, 2**64 - 1):
        assert read(type(body), cbor.encode({**document.to_map(body), number: {1: b"later"}})) == body


def test_keys_of_a_later_version_are_signed_with_the_rest() -> None:
    later = cbor.encode({**document.to_map(MANIFEST), 64: "of a later version"})
    data = cose.sign1(DocumentType.MANIFEST, later, PUBLISHER.public, PUBLISHER.sign)
    keyring = Keyring(reload_trust(examples.BY_NAME["trust"].data).trust)
    assert verify_manifest(data, keyring, NOW).manifest == MANIFEST


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (JOB, {12: ""}),
        (JOB, {13: 1}),
        (JOB, {15: {}}),
        (JOB, {16: 50}),
        (MANIFEST, {9: {1: ["host.*"], 2: 4096}}),
        (MANIFEST, {9: {1: ["host.*"], 5: False}}),
        (TRUST, {7: {}}),
        (RECEIPT, {8: b""}),
        (CORE, {18: {1: "ok", 2: ""}}),
    ],
)
def test_a_default_is_left_out_so_a_value_has_one_encoding(body: Any, changes: dict[int, Any]) -> None:
    assert "only its default: leave it out" in refused(body, changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"start_ns": 1},
        {"end_ns": 1},
        {"start_ns": 1, "end_ns": 1},
        {"start_ns": 2, "end_ns": 1},
        {"last_ns": 1, "start_ns": 1},
        {"last_ns": 1, "start_ns": 1, "end_ns": 2},
        {"last_ns": 1, "size_ns": 1_000_000},
        {"last_ns": 1, "kind": WindowKind.TUMBLING},
    ],
)
def test_a_span_is_given_in_one_way(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="window"):
        WindowSpec(**{"kind": WindowKind.SPAN, **changes})


def test_what_fits_no_class_is_malformed() -> None:
    assert "ends at 1, before" in refused(CORE, {8: {1: 2, 2: 1}})
    assert "root keys are distinct" in refused(TRUST, {5: {1: 1, 2: [bytes(32), bytes(32)]}})
    assert "at least as many as the threshold" in refused(TRUST, {5: {1: 2, 2: [bytes(32)]}})
    grant = {1: "hub", 2: bytes(32), 3: "a", 4: 1}
    assert "granted a role once" in refused(TRUST, {6: [grant, {**grant, 4: 2}]})
    assert "has a core" in refused(RECEIPT, {6: None})
    assert "has a core" in refused(RECEIPT, {9: {1: "a", 2: "b"}})
    assert "has a core" in refused(STOP, {6: b"core"})
    assert "has a core" in refused(STOP, {9: None})
    for number in (7, 8):
        assert "no summary or alerts" in refused(STOP, {number: b"unnamed"})


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x00", b"\x40", b"\xd2\xa0", b"\xf6"])
def test_what_is_no_map_is_malformed(data: bytes) -> None:
    for kind in KINDS:
        with pytest.raises(MalformedError):
            read(kind, data)


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        (JOB, {"fleet": bytes(15)}),
        (JOB, {"generation": 0}),
        (JOB, {"generation": True}),
        (JOB, {"name": "x" * 65}),
        (JOB, {"params": bytes((64 << 10) + 1)}),
        (JOB, {"inputs": Inputs(channels=("a",) * 65)}),
        (MANIFEST, {"name": "Statistics"}),
        (NODE_BODY, {"issued": -1}),
    ],
)
def test_nothing_out_of_bounds_is_encoded_either(body: Any, changes: dict[str, Any]) -> None:
    with pytest.raises(MalformedError):
        document.encode(dataclasses.replace(body, **changes))


# the greatest documents

LONG = "x" * 64
GREATEST = {
    DocumentType.NODE: examples.GREATEST_NODE,
    DocumentType.ACK: Ack(
        node=bytes(32),
        chain=bytes(16),
        issued=MAX_INT,
        rejected=(Rejected(seq=MAX_INT, digest=bytes(32), code=LONG),) * 1023,
        stored=(Stored(seq=MAX_INT, digest=bytes(32)),),
    ),
    DocumentType.JOB: dataclasses.replace(
        JOB,
        module=ModuleReference(name=LONG, manifest=bytes(32)),
        selector=Selector(nodes=(bytes(32),) * 1024, labels=(Label(name=LONG, value=LONG),) * 32),
        inputs=Inputs(channels=("x" * 256,) * 64),
        params=bytes(64 << 10),
        limits=Wanted(fuel=MAX_INT, memory=2**32, files=MAX_INT, state=1 << 24, wall_ms=1),
    ),
    DocumentType.READING: dataclasses.replace(
        READING,
        issued=MAX_INT,
        engine=LONG,
        mode="x" * 16,
        fuel_per_second=MAX_INT,
        workers=MAX_INT,
        memory=MAX_INT,
        cpus=MAX_INT,
        architecture="x" * 32,
    ),
    DocumentType.RECEIPT: dataclasses.replace(RECEIPT, core=bytes(4096), summary=bytes(1 << 20), alerts=bytes(1 << 20)),
}


@pytest.mark.parametrize("kind", GREATEST)
def test_a_document_at_all_its_bounds_is_within_its_type_s_limit(kind: DocumentType) -> None:
    body: Any = GREATEST[kind]
    data = issue(body, PUBLISHER)
    signed = cose.parse(data, kind)
    assert read(type(body), signed.payload) == body


def test_a_trust_document_with_all_the_grants_and_revocations_that_it_may_hold_can_be_read() -> None:
    keys = tuple(number.to_bytes(32, "big") for number in range(10_000))
    grants = tuple(Grant(role=role, public_key=key, name="n", expires=MAX_INT) for key in keys[:1024] for role in Role)
    trust = dataclasses.replace(
        TRUST, grants=grants, revoked=Revoked(keys=keys, modules=keys), roots=Roots(threshold=2, keys=TRUST.roots.keys)
    )
    assert verify_trust(issue_trust(trust, [ROOT_A, ROOT_B]), None, NOW).trust == trust


def test_a_document_that_nobody_would_take_is_not_signed() -> None:
    body = dataclasses.replace(MANIFEST, capabilities=Capabilities(channels=("x" * 256,) * 64))
    with pytest.raises(LimitError, match=r"formats\.manifest_bytes is 16384"):
        issue(body, PUBLISHER)


def test_one_byte_over_the_limit_of_a_type_is_refused_before_it_is_looked_at() -> None:
    for kind in DocumentType:
        with pytest.raises(LimitError) as caught:
            cose.parse(b"\xff" * (kind.limit + 1), kind)
        assert caught.value.name == f"formats.{kind}_bytes"


def test_every_document_class_has_distinct_keys_below_64() -> None:
    for example in EXAMPLES:
        numbers = [field.metadata["key"] for field in dataclasses.fields(example.body)]
        assert len(set(numbers)) == len(numbers) and max(numbers) < document.MUST_UNDERSTAND


def test_nested_values_are_shown_by_name_in_json() -> None:
    told = document.to_json(JOB)
    assert told["module"]["name"] == "statistics" and told["id"] == JOB.id.hex() and told["desired"] == "run"
    assert told["selector"]["labels"] == [{"name": "hall", "value": "2"}] and told["until"] is None


def test_the_kinds_of_a_receipt_and_their_parts_belong_together() -> None:
    for kind in ReceiptKind:
        parts: dict[str, Any] = {"kind": kind, "chain": bytes(16), "seq": 0, "prev": bytes(32), "measured": examples.MEASURED}
        good: dict[str, Any] = {"core": b"c"}
        bad: dict[str, Any] = {"notice": Notice(code="a", text="b")}
        if kind is not ReceiptKind.STEP:
            good, bad = bad, good
        Receipt(**parts, **good)
        for wrong in (bad, {}, {**good, **bad}):
            with pytest.raises(ValueError, match="core"):
                Receipt(**parts, **wrong)


def test_records_validate_themselves() -> None:
    assert Outcome(kind=OutcomeKind.OK).ok and not Outcome(kind=OutcomeKind.FUEL).ok
    with pytest.raises(ValueError, match="before its start"):
        Window(start_ns=2, end_ns=1)
    assert isinstance(read(Core, document.encode(CORE)).limits, Limits)
    assert isinstance(read(Manifest, document.encode(MANIFEST)).capabilities, Capabilities)
    assert isinstance(read(Job, document.encode(JOB)).selector, Selector)
    assert isinstance(read(Trust, document.encode(TRUST)).revoked, Revoked)
