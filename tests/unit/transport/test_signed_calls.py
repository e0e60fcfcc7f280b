"""Signed calls between the project's own client and server: who is let in, and what each side refuses."""

from __future__ import annotations

import asyncio
import dataclasses

import aiohttp
import pytest

from edgenode.errors import (
    BY_CODE,
    CallerError,
    ConfigError,
    EdgenodeError,
    ExpiredError,
    LimitError,
    MalformedError,
    NotFoundError,
    PinError,
    RevokedError,
    RoleError,
    UnknownKeyError,
    UnreachableError,
)
from edgenode.formats import httpsig
from edgenode.records import ClockState
from edgenode.transport.node_api import NodeApi
from edgenode.transport.tls import client_context
from edgenode.transport.wire import CARD, NODE_HEADER
from edgenode.trust.identity import Identity, create
from edgenode.trust.issue import issue

from ..formats.examples import GREATEST_NODE, HUB, NODE, NODE_BODY, NOW, PUBLISHER, REGISTRAR, SUBMITTER
from .lan import BODY_LIMIT, Lan, Machine, http

NODE_DATA = issue(NODE_BODY, REGISTRAR)
STRANGER = Identity(b"\x63" * 32)


class Raw:
    """Requests as somebody would send them who writes the bytes by hand."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def sign(
        self, *, method: str = "POST", target: str = "/echo", body: bytes = b"body", by: Identity = SUBMITTER, **changes: object
    ) -> dict[str, str]:
        values = {"nonce": "n" * 16, "created": NOW, "expires": NOW + 60, "boot": self.machine.guard.boot, **changes}
        return httpsig.sign(method, target, httpsig.content_digest(body), keyid=by.public, signer=by.sign, **values)  # type: ignore[arg-type]

    async def send(self, headers: dict[str, str], *, method: str = "POST", target: str = "/echo", body: bytes = b"body") -> tuple[int, str]:
        """The status, and the code of the problem document."""
        url = f"https://{self.machine.address}{target}"
        async with (
            aiohttp.ClientSession() as session,
            session.request(method, url, headers=headers, data=body, ssl=client_context()) as answer,
        ):
            assert answer.headers[httpsig.BOOT_HEADER] == self.machine.guard.boot
            if answer.status == 200:
                return 200, ""
            assert answer.content_type == "application/problem+json"
            return answer.status, (await answer.json(content_type=None))["title"]


@pytest.fixture
def raw(server: Machine) -> Raw:
    return Raw(server)


async def test_a_signed_call_brings_its_body_and_says_who_called(lan: Lan, server: Machine) -> None:
    client = lan.client(server)
    assert await client.request("POST", "/echo?n=1", b"body") == b"body"
    assert await client.request("POST", "/echo", bytes(BODY_LIMIT)) == bytes(BODY_LIMIT)
    assert {caller.key for caller in server.callers} == {SUBMITTER.public}
    assert client.server_key == server.key.public


async def test_the_card_is_for_anybody(lan: Lan, server: Machine) -> None:
    card = await NodeApi(lan.client(server, STRANGER)).card()
    assert (card.kind, card.name, card.key, card.document) == ("node", "one", server.key.public, b"")


# who


@pytest.mark.parametrize("key", [PUBLISHER, HUB, NODE, STRANGER])
async def test_other_roles_and_strangers_are_refused(lan: Lan, server: Machine, key: Identity) -> None:
    with pytest.raises(RoleError):
        await lan.client(server, key).request("POST", "/echo", b"")
    assert not server.callers


async def test_a_node_is_one_by_its_document(lan: Lan, server: Machine) -> None:
    assert await lan.client(server, NODE, node_document=NODE_DATA).request("GET", "/nodes") == b"node"
    assert server.callers[0].node == NODE_BODY
    with pytest.raises(RoleError):
        await lan.client(server, NODE).request("GET", "/nodes")
    with pytest.raises(RoleError):
        await lan.client(server, NODE, node_document=NODE_DATA).request("POST", "/echo")


async def test_the_greatest_node_document_fits_the_header(lan: Lan, server: Machine) -> None:
    greatest = dataclasses.replace(GREATEST_NODE, expires=NOW + 1)
    client = lan.client(server, NODE, node_document=issue(greatest, REGISTRAR))
    assert await client.request("GET", "/nodes") == b"node"


async def test_a_node_document_of_another_key_lets_nobody_in(lan: Lan, server: Machine) -> None:
    for thief in (STRANGER, SUBMITTER):
        with pytest.raises(CallerError, match="the node document is of key"):
            await lan.client(server, thief, node_document=NODE_DATA).request("GET", "/nodes")


async def test_a_node_document_that_is_not_believed_lets_nobody_in(lan: Lan, server: Machine) -> None:
    for document, error in [
        (issue(NODE_BODY, STRANGER), UnknownKeyError),
        (issue(dataclasses.replace(NODE_BODY, expires=NOW), REGISTRAR), ExpiredError),
        (issue(dataclasses.replace(NODE_BODY, fleet=bytes(16)), REGISTRAR), UnknownKeyError),
        (NODE_DATA[:-1], MalformedError),
        (b"nonsense", MalformedError),
    ]:
        with pytest.raises(error):
            await lan.client(server, NODE, node_document=document).request("GET", "/nodes")


async def test_who_is_revoked_is_refused_from_the_next_call_on(lan: Lan, server: Machine) -> None:
    node, submitter = lan.client(server, NODE, node_document=NODE_DATA), lan.client(server)
    await node.request("GET", "/nodes")
    await submitter.request("POST", "/echo")
    server.revoke(NODE, SUBMITTER)
    for call in (node.request("GET", "/nodes"), submitter.request("POST", "/echo")):
        with pytest.raises(RevokedError):
            await call
    server.revoke(REGISTRAR)
    with pytest.raises(RevokedError):
        await node.request("GET", "/nodes")


@pytest.mark.parametrize("value", ["*", "AAAA=A", "é", "AAAA", "\xff"])
async def test_a_node_header_that_is_no_document_is_malformed(server: Machine, raw: Raw, value: str) -> None:
    assert await raw.send({**raw.sign(), NODE_HEADER: value}) == (400, "malformed")


# what was signed


async def test_an_unsigned_request_is_refused(server: Machine, raw: Raw) -> None:
    assert await raw.send({}) == (401, "caller")
    for name in list(raw.sign()):
        assert await raw.send({key: value for key, value in raw.sign().items() if key != name}) == (401, "caller")
    assert not server.callers


async def test_a_changed_request_is_refused(server: Machine, raw: Raw) -> None:
    assert await raw.send(raw.sign(), target="/echo?n=2") == (401, "caller")
    assert await raw.send(raw.sign(method="PUT")) == (401, "caller")
    assert await raw.send(raw.sign(body=b"body!")) == (401, "caller")
    assert await raw.send({**raw.sign(), "Content-Digest": httpsig.content_digest(b"evil")}, body=b"evil") == (401, "caller")
    assert await raw.send(raw.sign(nonce="m" * 16)) == (200, "")


async def test_the_same_bytes_again_are_refused(server: Machine, raw: Raw) -> None:
    headers = raw.sign()
    assert await raw.send(headers) == (200, "")
    assert await raw.send(headers) == (401, "caller")
    assert await raw.send(raw.sign(nonce="m" * 16)) == (200, "")
    assert len(server.callers) == 2


async def test_a_request_that_was_refused_for_its_signature_uses_up_no_nonce(server: Machine, raw: Raw) -> None:
    headers = raw.sign()
    bad = {**headers, "Signature": raw.sign(by=STRANGER)["Signature"]}
    assert await raw.send(bad) == (401, "caller")
    assert await raw.send(headers) == (200, "")


async def test_a_request_for_an_earlier_start_is_refused_and_signed_anew_once(lan: Lan, server: Machine, raw: Raw) -> None:
    client = lan.client(server)
    await client.request("POST", "/echo", b"1")
    old = raw.sign()
    await server.restart()
    assert await raw.send(old) == (401, "caller")
    assert await client.request("POST", "/echo", b"2") == b"2"
    await server.restart()
    assert await client.request("POST", "/echo", bytes(200_000)) == bytes(200_000)  # a body that waits to be asked for


async def test_a_server_that_never_agrees_is_asked_twice_and_no_more(lan: Lan) -> None:
    asked = []

    def answer(head: bytes) -> bytes:
        asked.append(head)
        return http(b"", status=200 if CARD.encode() in head else 401, headers=f"Edgenode-Boot: {key.public.hex()}.{len(asked):016}\r\n")

    key = create(lan.folder / "liar.pem")
    client = lan.client(await lan.impostor(answer, lan.folder / "liar.pem"))
    with pytest.raises(EdgenodeError):
        await client.request("POST", "/echo")
    assert len(asked) == 3  # the card, and two tries


# when


@pytest.mark.parametrize(
    ("created", "expires"), [(NOW - 200, NOW - 61), (NOW + 61, NOW + 100), (NOW, NOW - 1), (NOW, NOW + 601), (0, NOW), (0, 10**11)]
)
async def test_a_request_is_for_its_time(server: Machine, raw: Raw, created: int, expires: int) -> None:
    assert await raw.send(raw.sign(created=created, expires=expires)) == (401, "caller")


@pytest.mark.parametrize(("created", "expires"), [(NOW - 200, NOW - 60), (NOW + 60, NOW + 100), (NOW, NOW), (NOW, NOW + 600)])
async def test_clocks_may_differ_a_little(server: Machine, raw: Raw, created: int, expires: int) -> None:
    assert await raw.send(raw.sign(created=created, expires=expires)) == (200, "")


async def test_a_server_that_does_not_know_the_time_judges_none_and_forgets_no_nonce(lan: Lan, server: Machine, raw: Raw) -> None:
    lan.clock.told, lan.clock.now = ClockState.UNKNOWN, 0
    assert await raw.send(raw.sign()) == (200, "")
    lan.clock.advance(100_000)
    assert await raw.send(raw.sign()) == (401, "caller")
    assert await raw.send(raw.sign(nonce="m" * 16)) == (200, "")


async def test_a_clock_that_is_turned_back_neither_fills_nor_empties_the_cache(lan: Lan, server: Machine, raw: Raw) -> None:
    lan.clock.now += 10**7
    assert await raw.send(raw.sign(created=lan.clock.now, expires=lan.clock.now + 60)) == (200, "")
    lan.clock.now = NOW
    lan.clock.monotonic += 100_000
    assert await raw.send(raw.sign(nonce="m" * 16)) == (200, "")
    assert len(server.guard._seen) == 1


async def test_a_full_replay_cache_begins_anew_and_lets_no_old_request_in(lan: Lan) -> None:
    server = await lan.serve(replay_nonces=3)
    raw, client = Raw(server), lan.client(server)
    first = raw.sign()
    assert await raw.send(first) == (200, "")
    boot = server.guard.boot
    for number in range(10):
        assert await client.request("POST", "/echo", bytes([number])) == bytes([number])  # the client signs anew by itself
    assert server.guard.boot != boot
    assert await raw.send(first) == (401, "caller")


async def test_strangers_fill_no_cache(lan: Lan) -> None:
    server = await lan.serve(replay_nonces=3)
    raw = Raw(server)
    for number in range(10):
        assert await raw.send(raw.sign(by=STRANGER, nonce=f"{number:016}")) == (403, "wrong-role")
    assert len(server.guard._seen) == 0


# which server


async def test_another_key_than_the_pinned_one_is_refused(lan: Lan, server: Machine) -> None:
    client = lan.client(server, pin=STRANGER.public)
    for _ in range(2):
        with pytest.raises(PinError, match="has key"):
            await client.request("POST", "/echo", b"secret")
    assert not server.callers


async def test_a_key_that_was_learned_is_held_to(lan: Lan, server: Machine) -> None:
    client = lan.client(server.address)
    await client.request("POST", "/echo")
    assert client.server_key == server.key.public
    await server.server.stop()
    other = await lan.serve()
    await other.server.stop()
    other.config = dataclasses.replace(other.config, port=server.config.port)
    await other.start()  # another machine takes the address
    with pytest.raises(PinError):
        await client.request("POST", "/echo", b"secret")
    assert not other.callers


async def test_a_server_cannot_hand_a_request_on_to_another(lan: Lan, server: Machine) -> None:
    """A machine in the middle with a good key of its own shows the boot nonce of the server that it wants to speak to in our name."""
    address = await lan.impostor(lambda head: http(b"{}", headers=f"Edgenode-Boot: {server.guard.boot}\r\n"))
    client = lan.client(address)
    with pytest.raises(PinError, match="boot nonce of another server"):
        await client.request("POST", "/echo", b"run this")


@pytest.mark.parametrize("boot", ["", "x", "\xff", "a" * 5000])
async def test_a_boot_nonce_of_another_shape_is_malformed(lan: Lan, boot: str) -> None:
    client = lan.client(await lan.impostor(lambda head: http(b"{}", headers=f"Edgenode-Boot: {boot}\r\n")))
    with pytest.raises(MalformedError):
        await client.request("POST", "/echo")


async def test_a_server_without_a_boot_nonce_is_none_of_ours(lan: Lan) -> None:
    client = lan.client(await lan.impostor(lambda head: http(b"{}")))
    with pytest.raises(MalformedError, match="is no edgenode server"):
        await client.request("POST", "/echo")


@pytest.mark.parametrize(
    "address", ["", "host", "host:", "host:port", "host:99999", ":1", "a@b:1", "host:1/x", "host:1?x", "host:1#x", "ho st:1"]
)
def test_an_address_is_host_and_port(lan: Lan, address: str) -> None:
    with pytest.raises(ConfigError):
        lan.client(address)


async def test_nobody_there_is_unreachable(lan: Lan, server: Machine) -> None:
    address = server.address
    await server.server.stop()
    with pytest.raises(UnreachableError):
        await lan.client(address).card()


# what is refused, and how


async def test_every_error_comes_out_as_the_class_that_went_in(lan: Lan, server: Machine) -> None:
    client = lan.client(server)
    for kind in BY_CODE.values():
        server.error = LimitError("a.limit", 1, 2) if kind is LimitError else kind("what happened, to what", hint="what to do")
        with pytest.raises(kind) as caught:
            await client.request("GET", "/boom")
        assert type(caught.value) is kind
        assert (caught.value.what, caught.value.hint) == (server.error.what, server.error.hint)


async def test_a_failure_of_the_server_shows_nothing_of_its_inside(lan: Lan, server: Machine) -> None:
    with pytest.raises(EdgenodeError) as caught:
        await lan.client(server).request("GET", "/boom")
    assert (caught.value.what, caught.value.code) == ("GET /boom failed in this server", "error")
    assert "swordfish" not in caught.value.hint


@pytest.mark.parametrize(
    ("method", "target"), [("GET", "/"), ("GET", "/v1/node/"), ("DELETE", "/echo"), ("OPTIONS", "/echo"), ("HEAD", CARD)]
)
async def test_what_is_not_there_is_not_found(server: Machine, method: str, target: str) -> None:
    url = f"https://{server.address}{target}"
    async with aiohttp.ClientSession() as session, session.request(method, url, ssl=client_context()) as answer:
        assert answer.status == 404 and answer.content_type == "application/problem+json"


async def test_what_is_not_there_is_raised_as_not_found(lan: Lan, server: Machine) -> None:
    with pytest.raises(NotFoundError, match="no GET /v1/nothing here"):
        await lan.client(server).request("GET", "/v1/nothing")


async def test_an_answer_that_breaks_off_is_known_to_be_broken(lan: Lan, server: Machine) -> None:
    client, found = lan.client(server), b""
    with pytest.raises(UnreachableError, match="broke off"):
        async for chunk in client.stream("GET", "/stream", seconds=5):
            found += chunk
    assert found  # what came before is there
    server.error = RuntimeError("unforeseen")
    with pytest.raises(UnreachableError, match="broke off"):
        await client.request("GET", "/stream")
    assert await client.request("POST", "/echo", b"on") == b"on"


async def test_a_stream_that_falls_silent_ends(lan: Lan, server: Machine) -> None:
    def answer(head: bytes) -> bytes | None:
        return http(b"{}", headers=f"Edgenode-Boot: {key.public.hex()}.{'b' * 16}\r\n") if CARD.encode() in head else None

    key = create(lan.folder / "silent.pem")
    client = lan.client(await lan.impostor(answer, lan.folder / "silent.pem"), timeout=0.2)
    with pytest.raises(UnreachableError):
        async for _ in client.stream("GET", "/stream", seconds=0.1):
            pass


async def test_answers_are_bounded(lan: Lan, server: Machine) -> None:
    with pytest.raises(LimitError, match=r"transport\.answer_bytes is 10 bytes"):
        await lan.client(server).request("POST", "/echo", bytes(100), limit=10)


# many calls


async def test_many_calls_at_once_are_all_answered(lan: Lan, server: Machine) -> None:
    clients = [lan.client(server) for _ in range(10)]
    calls = [client.request("POST", "/echo", b"%d" % n) for n in range(10) for client in clients]
    assert sorted(await asyncio.gather(*calls)) == sorted(b"%d" % n for n in range(10) for _ in clients)
