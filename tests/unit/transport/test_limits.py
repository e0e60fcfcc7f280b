"""What a caller can make a server read, hold and wait for."""

from __future__ import annotations

import asyncio
import gzip
import ssl
import warnings
from pathlib import Path
from typing import Any

import psutil
import pytest

from edgenode.errors import ConfigError, LimitError
from edgenode.formats import httpsig
from edgenode.transport import connections as connections_module
from edgenode.transport import server as server_module
from edgenode.transport.server import FIELD_BYTES, HEADERS, LINE_BYTES
from edgenode.transport.tls import client_context, server_context
from edgenode.transport.wire import CARD
from edgenode.trust.identity import Identity, create

from ..formats.examples import NOW, SUBMITTER
from .lan import BODY_LIMIT, Lan, Machine

MIB = 1 << 20
STRANGER = Identity(b"\x63" * 32)


class Wire:
    """A TLS connection on which a caller writes what it wants."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, machine: Machine) -> Wire:
        return cls(*await asyncio.open_connection("127.0.0.1", machine.server.port, ssl=client_context(), limit=MIB))

    async def head(self) -> str:
        return (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 5)).decode()

    async def push(self, data: bytes, most: int) -> int:
        """Send ``data`` again and again, up to ``most`` bytes; how many went out before the other side would take no more."""
        sent = 0
        try:
            while sent < most:
                self.writer.write(data)
                await asyncio.wait_for(self.writer.drain(), 2)
                sent += len(data)
        except (TimeoutError, OSError):
            pass
        return sent

    def close(self) -> None:
        self.writer.transport.abort()


def request_head(
    machine: Machine,
    *,
    method: str = "POST",
    target: str = "/echo",
    by: Identity = SUBMITTER,
    body: bytes = b"",
    nonce: str = "n" * 16,
    **headers: str,
) -> bytes:
    signed = httpsig.sign(
        method,
        target,
        httpsig.content_digest(body),
        boot=machine.guard.boot,
        nonce=nonce,
        created=NOW,
        expires=NOW + 60,
        keyid=by.public,
        signer=by.sign,
    )
    lines = [f"{method} {target} HTTP/1.1", "Host: x"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in {**signed, **headers}.items()]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.mark.parametrize(
    ("by", "header"),
    [
        (SUBMITTER, ("Content_Length", str(64 * MIB))),
        (STRANGER, ("Content_Length", str(64 * MIB))),
        (STRANGER, ("Transfer_Encoding", "chunked")),
    ],
)
async def test_a_body_of_64_mib_is_refused_and_not_read(server: Machine, by: Identity, header: tuple[str, str]) -> None:
    wire = await Wire.open(server)
    memory = psutil.Process().memory_info().rss
    extra: dict[str, Any] = dict([header])
    wire.writer.write(request_head(server, by=by, **extra))
    chunk = bytes(65536)
    chunk = b"10000\r\n" + chunk + b"\r\n" if header[1] == "chunked" else chunk
    sent = await wire.push(chunk, 64 * MIB)
    assert sent < 16 * MIB  # what lies in the two sockets' buffers, and TLS's; the server took none of the rest
    assert psutil.Process().memory_info().rss - memory < 32 * MIB  # the caller's side too, which is this process
    wire.close()


async def test_the_refusal_comes_before_the_body(server: Machine) -> None:
    wire = await Wire.open(server)
    wire.writer.write(request_head(server, Content_Length=str(64 * MIB), Expect="100-continue"))
    head = await wire.head()
    assert " 413 " in head.splitlines()[0] and "Connection: close" in head
    wire.close()


async def test_a_body_over_the_limit_raises_what_it_is_and_is_not_sent(lan: Lan, server: Machine) -> None:
    client = lan.client(server)
    before = psutil.Process().memory_info().rss
    with pytest.raises(LimitError, match=f"intake.body_bytes is {BODY_LIMIT} bytes, met {16 * MIB}"):
        await client.request("POST", "/echo", bytes(16 * MIB))
    assert psutil.Process().memory_info().rss - before < 32 * MIB  # the body itself, once
    assert await client.request("POST", "/echo", b"on") == b"on"


async def test_a_chunked_body_is_read_up_to_the_limit(server: Machine) -> None:
    wire = await Wire.open(server)
    wire.writer.write(request_head(server, Transfer_Encoding="chunked"))
    sent = await wire.push(b"10000\r\n" + bytes(65536) + b"\r\n", 64 * MIB)
    assert sent < 16 * MIB
    wire.close()


async def test_a_small_chunked_body_is_taken_and_a_broken_one_is_malformed(server: Machine) -> None:
    wire = await Wire.open(server)
    wire.writer.write(request_head(server, body=b"body", Transfer_Encoding="chunked") + b"4\r\nbody\r\n0\r\n\r\n")
    assert " 200 " in (await wire.head()).splitlines()[0]
    wire.close()
    wire = await Wire.open(server)
    wire.writer.write(request_head(server, nonce="m" * 16, Transfer_Encoding="chunked") + b"4\r\nbody\r\nnonsense\r\n")
    assert " 400 " in (await wire.head()).splitlines()[0]
    wire.close()


async def test_a_body_is_what_was_sent_and_grows_no_larger(server: Machine) -> None:
    packed = (await asyncio.to_thread(gzip.compress, bytes(48 * MIB), 1))[:BODY_LIMIT]
    before = psutil.Process().memory_info().rss
    wire = await Wire.open(server)
    wire.writer.write(request_head(server, body=packed, Content_Length=str(len(packed)), Content_Encoding="gzip") + packed)
    assert " 200 " in (await wire.head()).splitlines()[0]
    assert await asyncio.wait_for(wire.reader.readexactly(len(packed)), 5) == packed
    assert psutil.Process().memory_info().rss - before < 16 * MIB
    wire.close()


async def test_a_refused_small_body_leaves_the_connection_as_it_was(lan: Lan, server: Machine) -> None:
    wire = await Wire.open(server)
    for _ in range(3):
        wire.writer.write(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        await asyncio.sleep(0.01)  # after the refusal, on most machines
        wire.writer.write(b"body")
        head = await wire.head()
        assert " 401 " in head.splitlines()[0] and "close" not in head
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        await wire.reader.readexactly(length)
    wire.close()


async def test_a_body_that_stops_coming_is_given_up(server: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "BODY_SECONDS", 0.2)
    wire = await Wire.open(server)
    wire.writer.write(request_head(server, body=b"body", Content_Length="4") + b"bo")
    assert " 413 " in (await wire.head()).splitlines()[0]
    assert b"transport.body_seconds" in await asyncio.wait_for(wire.reader.read(), 5)
    wire.close()


async def test_a_body_that_is_broken_off_harms_nothing(lan: Lan, server: Machine) -> None:
    wire = await Wire.open(server)
    wire.writer.write(request_head(server, body=b"body", Content_Length="4") + b"bo")
    await asyncio.sleep(0.05)
    wire.close()
    assert await lan.client(server).request("POST", "/echo", b"on") == b"on"


async def test_who_says_nothing_is_hung_up_on(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections_module, "HANDSHAKE_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "IDLE_SECONDS", 0.2)
    server = await lan.serve()
    plain, writer = await asyncio.open_connection("127.0.0.1", server.server.port)  # no handshake
    idle, drip = await Wire.open(server), await Wire.open(server)
    drip.writer.write(b"GET /v1/node HTTP/1.1\r\nHost: ")  # half a head
    for reader in (plain, idle.reader, drip.reader):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    idle.close()
    drip.close()


ODD = {
    "a long line": b"GET /" + b"a" * (2 * LINE_BYTES) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long header": b"GET /v1/node HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (FIELD_BYTES + 1) + b"\r\n\r\n",
    "many headers": b"GET /v1/node HTTP/1.1\r\nHost: x\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(2 * HEADERS)) + b"\r\n",
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "an unknown method": b"BREW /v1/node HTTP/1.1\r\nHost: x\r\n\r\n",
    "a header without a name": b"GET /v1/node HTTP/1.1\r\n: x\r\n\r\n",
    "two lengths": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nbody",
    "a length and chunks": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a negative length": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    "a length of 10^30": b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1" + b"0" * 30 + b"\r\n\r\n",
    "a null byte": b"GET /v1/\0node HTTP/1.1\r\nHost: x\r\n\r\n",
    "bytes over 127": b"GET /v1/\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}


@pytest.mark.parametrize("name", ODD)
async def test_an_odd_request_is_answered_without_a_word_about_the_inside(lan: Lan, server: Machine, name: str) -> None:
    wire = await Wire.open(server)
    wire.writer.write(ODD[name])
    answer = (await asyncio.wait_for(wire.reader.read(65536), 5)).decode()
    assert answer.split(" ")[1] in ("400", "401", "403", "404", "413")
    assert "Traceback" not in answer and "site-packages" not in answer and 'File "' not in answer
    wire.close()
    assert (await lan.client(server).card())[:1] == b"{"


async def test_a_line_break_in_a_path_stays_out_of_the_log(server: Machine, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    wire = await Wire.open(server)
    wire.writer.write(b"GET /nodes%0Aforged?a=%0A HTTP/1.1\r\nHost: x\r\n\r\nGET /nodes?a=%0Aforged HTTP/1.1\r\nHost: x\r\n\r\n")
    await wire.head()
    await wire.head()
    assert all("\n" not in record.getMessage() for record in caplog.records)
    wire.close()


async def test_requests_that_are_sent_all_at_once_are_answered_in_turn(server: Machine) -> None:
    wire = await Wire.open(server)
    wire.writer.write(b"GET /v1/node HTTP/1.1\r\nHost: x\r\n\r\n" * 200)
    for _ in range(200):
        head = await wire.head()
        await wire.reader.readexactly(int(head.lower().split("content-length: ")[1].split("\r\n")[0]))
    wire.close()


# TLS


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2])
async def test_older_tls_is_refused(server: Machine, version: ssl.TLSVersion) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, version
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", server.server.port, ssl=context)


async def test_plain_http_is_refused(server: Machine) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.server.port)
    writer.write(f"GET {CARD} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert b"HTTP" not in await asyncio.wait_for(reader.read(), 5)
    writer.close()


async def test_the_certificate_is_made_once_and_carries_the_machine_s_key(tmp_path: Path) -> None:
    key = create(tmp_path / "key.pem")
    first = server_context(tmp_path / "key.pem", tmp_path / "cert.pem")
    made = (tmp_path / "cert.pem").read_bytes()
    again = server_context(tmp_path / "key.pem", tmp_path / "cert.pem")
    assert first.public_key == again.public_key == key.public
    assert (tmp_path / "cert.pem").read_bytes() == made
    assert b"PRIVATE" not in made and first.minimum_version is ssl.TLSVersion.TLSv1_3


@pytest.mark.parametrize("content", [b"", b"nonsense", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff\xfe"])
async def test_a_damaged_certificate_says_what_to_do(tmp_path: Path, content: bytes) -> None:
    create(tmp_path / "key.pem")
    (tmp_path / "cert.pem").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        server_context(tmp_path / "key.pem", tmp_path / "cert.pem")
    assert "made again" in caught.value.hint


async def test_a_certificate_of_another_key_is_refused(tmp_path: Path) -> None:
    create(tmp_path / "old.pem")
    server_context(tmp_path / "old.pem", tmp_path / "cert.pem")
    create(tmp_path / "key.pem")
    with pytest.raises(ConfigError):
        server_context(tmp_path / "key.pem", tmp_path / "cert.pem")
