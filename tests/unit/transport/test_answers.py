"""What a hostile server answers: problem documents, cards, JSON and streams, none of which may break or fool a caller."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgenode.errors import BY_CODE, EdgenodeError, LimitError, MalformedError, TransportError, UnreachableError
from edgenode.transport import problem
from edgenode.transport.hub_api import HubApi
from edgenode.transport.node_api import Execution, NodeApi, ReceiptItem, StreamItem, encode_item
from edgenode.transport.wire import (
    CARD,
    CURSOR_HEADER,
    decode_header,
    decode_parts,
    encode_header,
    encode_parts,
    parse_hex,
    parse_json,
    plain_text,
)
from edgenode.trust.identity import create

from .lan import Lan, http, json_http

DEEP = b"[" * 100_000


@pytest.mark.parametrize("code", BY_CODE)
def test_a_problem_document_brings_back_class_text_and_hint(code: str) -> None:
    kind = BY_CODE[code]
    error = LimitError("a.limit", 1, 2) if kind is LimitError else kind("what happened", hint="what to do")
    found = problem.from_problem(problem.to_problem(error), error.status, "server")
    assert type(found) is kind and (found.what, found.hint, str(found)) == (error.what, error.hint, error.what)
    told = json.loads(problem.to_problem(error))
    assert told["status"] == kind.status and told["retry"] is kind.retry and told["type"] == f"urn:edgenode:error:{code}"


UNREADABLE: list[Any] = [
    b"",
    b"nonsense",
    b"\xff\xfe",
    DEEP,
    b'{"title":' * 50_000,
    b"1" * 10_000,
    b"[]",
    b"null",
    b'"caller"',
    b"{}",
    {"title": "caller"},
    {"title": "no-such-code", "detail": "x"},
    {"title": ["caller"], "detail": "x"},
    {"title": None, "detail": "x"},
    {"title": "caller", "detail": 1},
    {"title": "caller", "detail": ["x"]},
    {"title": "caller", "detail": "x", "hint": {}},
    {"title": "__class__", "detail": "x"},
]


@pytest.mark.parametrize("body", UNREADABLE)
def test_a_problem_that_cannot_be_read_is_an_error_of_transport(body: Any) -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    found = problem.from_problem(data, 500, "server:1")
    assert type(found) is TransportError and found.what == "server:1 answered 500 without a readable reason"


def test_what_a_server_says_is_one_line_and_short() -> None:
    told = {"title": "caller", "detail": "\x1b[2Jgone\r\nnode: all is well\u202e\ud800" + "x" * 5000, "hint": "a\tb"}
    found = problem.from_problem(json.dumps(told).encode(), 401, "server")
    assert found.what.startswith(" [2Jgone  node: all is well  x") and len(found.what) == 1000 and found.hint == "a b"
    found.what.encode()
    assert plain_text("Wärme 21 °C") == "Wärme 21 °C"


@pytest.mark.parametrize("status", [101, 300, 301, 304, 399, 404, 500, 599, 999])
async def test_only_2xx_is_an_answer(lan: Lan, status: int) -> None:
    client = lan.client(await lan.impostor(lambda head: http(b"{}", status=status, headers="Location: /v1/status\r\n")), timeout=2.0)
    with pytest.raises(EdgenodeError):
        await client.card()


CARD_OK = {"kind": "node", "name": "one", "key": "00" * 32, "document": ""}
CARDS: list[Any] = [
    b"",
    b"<html>",
    DEEP,
    b"[]",
    {},
    {**CARD_OK, "key": 5},
    {**CARD_OK, "key": "00"},
    {**CARD_OK, "key": "GG" * 32},
    {**CARD_OK, "key": "AB" * 32},
    {**CARD_OK, "name": None},
    {**CARD_OK, "kind": ["node"]},
    {**CARD_OK, "document": "*"},
    {**CARD_OK, "document": "é"},
    {**CARD_OK, "document": 5},
    {**CARD_OK, "document": ["AAAA"]},
]


@pytest.mark.parametrize("card", CARDS)
async def test_a_card_that_is_none_is_malformed(lan: Lan, card: Any) -> None:
    body = card if isinstance(card, bytes) else json.dumps(card).encode()
    with pytest.raises(MalformedError):
        await NodeApi(lan.client(await lan.impostor(lambda head: http(body)))).card()


async def test_a_card_s_text_is_plain(lan: Lan) -> None:
    card = await NodeApi(lan.client(await lan.impostor(lambda head: json_http({**CARD_OK, "name": "\x1b[31m" + "x" * 100})))).card()
    assert card.name == " [31m" + "x" * 59 and card.document == b""


class Told:
    """A server that answers every call but the card with one body."""

    def __init__(self, lan: Lan) -> None:
        self.lan, self.body = lan, b""

    async def api(self, **options: Any) -> NodeApi:
        key = create(self.lan.folder / "told.pem")

        def answer(head: bytes) -> bytes:
            body = json.dumps(CARD_OK).encode() if CARD.encode() in head else self.body
            return http(body, headers=f"Edgenode-Boot: {key.public.hex()}.{'b' * 16}\r\n")

        return NodeApi(self.lan.client(await self.lan.impostor(answer, self.lan.folder / "told.pem"), **options))


@pytest.fixture
def told(lan: Lan) -> Told:
    return Told(lan)


@pytest.mark.parametrize("body", [b"", DEEP, b"null", b"[]", b"{}", b'{"jobs":{}}', b'{"jobs":[1]}', b'{"jobs":null}', b"1e999", b"\xff"])
async def test_json_that_is_no_answer_is_malformed(told: Told, body: bytes) -> None:
    told.body = body
    api = await told.api()
    with pytest.raises(MalformedError):
        await api.jobs()
    if body not in (b"{}", b'{"jobs":{}}', b'{"jobs":[1]}', b'{"jobs":null}'):
        for call in (api.status, lambda: api.job(bytes(16)), lambda: api.submit(b"job", b"")):
            with pytest.raises(MalformedError):
                await call()


async def test_an_answer_that_is_too_long_is_not_read_to_its_end(told: Told) -> None:
    told.body = b" " * (2 << 20)
    with pytest.raises(LimitError, match=r"transport\.answer_bytes is 1048576"):
        await (await told.api()).status()


EXECUTION = Execution(node="ab", name="one", state="done", reason="", steps=3, done_steps=3)


async def stream(told: Told, body: bytes) -> list[Any]:
    told.body = body
    return [item async for item in (await told.api()).receipts(bytes(16), 1.0)]


async def test_a_stream_brings_receipts_and_executions(told: Told) -> None:
    items: list[StreamItem] = [ReceiptItem(b"receipt", b"node"), EXECUTION, ReceiptItem(bytes(100_000), b"")]
    assert await stream(told, b"".join(map(encode_item, items))) == items


def execution(**changes: Any) -> bytes:
    return encode_parts([json.dumps({**EXECUTION.to_json(), **changes}).encode()])


BAD_ITEMS = [
    b"\xff",
    b"\x00",
    b"\x80",
    b"\x81\x80",
    b"\x83\x40\x40\x40",
    b"\x81\x41[",
    encode_parts([DEEP]),
    encode_parts([b"{}"]),
    encode_parts([b"[]"]),
    execution(steps="3"),
    execution(steps=-1),
    execution(steps=1.5),
    execution(steps=True),
    execution(steps=float("inf")),
    execution(steps=float("nan")),
    execution(name=5),
    execution(state=None),
    encode_item(EXECUTION)[:-1],
    b"\xd2" + encode_item(EXECUTION),
]


@pytest.mark.parametrize("body", BAD_ITEMS)
async def test_a_stream_item_that_is_none_is_malformed(told: Told, body: bytes) -> None:
    with pytest.raises(MalformedError):
        await stream(told, encode_item(EXECUTION) + body)


async def test_a_stream_item_without_end_is_cut_short(told: Told) -> None:
    with pytest.raises(LimitError, match=r"transport\.item_bytes"):
        await stream(told, b"\x81\x5a\x7f\xff\xff\xff" + bytes(5 << 20))


async def test_what_an_execution_says_is_plain(told: Told) -> None:
    (found,) = await stream(told, execution(reason="\x1b]0;x\x07" + "y" * 5000, name="n" * 100))
    assert found.reason == " ]0;x " + "y" * 994 and len(found.name) == 64


async def test_a_server_that_hangs_up_is_unreachable(lan: Lan) -> None:
    client = lan.client(await lan.impostor(lambda head: b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"), timeout=0.5)
    with pytest.raises(UnreachableError):
        await client.card()


@pytest.mark.parametrize(
    "answer",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: " + b"a" * 100_000 + b"\r\n\r\n"],
)
async def test_a_server_that_speaks_no_http_is_unreachable(lan: Lan, answer: bytes) -> None:
    client = lan.client(await lan.impostor(lambda head: answer), timeout=0.5)
    with pytest.raises(UnreachableError):
        await client.card()


async def test_cookies_are_not_kept(lan: Lan) -> None:
    heads: list[bytes] = []

    def answer(head: bytes) -> bytes:
        heads.append(head)
        return http(b"{}", headers="Set-Cookie: track=1; Path=/\r\n")

    client = lan.client((await lan.impostor(answer)).replace("127.0.0.1", "localhost"))
    await client.card()
    await client.card()
    assert len(heads) == 2 and b"ookie" not in heads[1]


@pytest.mark.parametrize("cursor", ["", "0", "-1", "x", "1" * 20, "1 HTTP/1.1", "\xff"])
async def test_a_page_of_receipts_says_where_the_next_begins(lan: Lan, cursor: str) -> None:
    key = create(lan.folder / "hub.pem")
    page = encode_parts([b"receipt", b"node"])
    headers = f"Edgenode-Boot: {key.public.hex()}.{'b' * 16}\r\n{CURSOR_HEADER}: "
    hub = HubApi(lan.client(await lan.impostor(lambda head: http(page, headers=f"{headers}{cursor}\r\n"), lan.folder / "hub.pem")))
    with pytest.raises(MalformedError):
        _ = [item async for item in hub.receipts(bytes(16))]
    with pytest.raises(MalformedError):
        await hub.status()


# body shapes


@pytest.mark.parametrize("parts", [[], [b""], [b"job", b"manifest"], [bytes(1000)] * 1026])
def test_parts_come_back(parts: list[bytes]) -> None:
    assert list(decode_parts(encode_parts(parts), least=0, most=2000, limit=1 << 21, limit_name="x")) == parts


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x40",
        b"\xa0",
        b"\x80",
        b"\x83\x40\x40\x40",
        b"\x81\x60",
        b"\x81\x00",
        b"\x81\x81\x40",
        b"\xd2\x81\x40",
        b"\x81\x40\x00",
        DEEP,
    ],
)
def test_other_bodies_are_malformed(data: bytes) -> None:
    with pytest.raises(MalformedError):
        decode_parts(data, least=1, most=2, limit=1 << 20, limit_name="x")


def test_headers_hex_and_json_are_strict() -> None:
    assert decode_header(encode_header(bytes(range(256)))) == bytes(range(256)) and decode_header("") == b""
    for header in ("*", "AAA", "AA==AA", "AAAA\n", "é", "\udcff"):
        with pytest.raises(MalformedError):
            decode_header(header)
    for text in ("", "0", "zz", "AB", "ab ", " ab", "a b", "abcd", "a\u0660"):
        with pytest.raises(MalformedError):
            parse_hex(text, 1, "it")
    assert parse_hex("ab", 1, "it") == b"\xab"
    assert parse_json(b'{"a": 1}') == {"a": 1}
    with pytest.raises(TypeError):
        plain_text(b"bytes")
