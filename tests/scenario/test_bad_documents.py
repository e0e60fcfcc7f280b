"""Bytes that are not what they should be: a clear error that names the fault, and the node still runs good jobs."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from edgenode.clock import seconds
from edgenode.errors import (
    BY_CODE,
    DigestError,
    EdgenodeError,
    ExpiredError,
    LimitError,
    MalformedError,
    ModuleMissingError,
    NoSuchChannelError,
    NotFoundError,
    QueueFullError,
    RoleError,
    SignatureError,
    TrustError,
    UnknownKeyError,
    ValidityError,
)
from edgenode.formats import document
from edgenode.formats.job import Job
from edgenode.formats.trust import Grant, Role
from edgenode.records import digest
from edgenode.testing import Fleet, Laptop, everything, window
from edgenode.transport.client import Client
from edgenode.transport.wire import JOBS, MODULES, encode_parts
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue
from edgenode_sdk import spec as specs
from edgenode_sdk.fleet import FleetNode

from .steps import assert_alive

STRANGER = Identity(bytes(range(32)))


def job(of: Fleet, /, **changes: Any) -> Job:
    spec = specs.parse({"module": "hello", "channels": ["press/value"], "window": window()})
    made = specs.to_job(spec, fleet=of.home.trust().trust.fleet, manifest=None, now=seconds(of.clock))
    return dataclasses.replace(made, **changes)


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


def client(laptop: Laptop) -> Client:
    return api(laptop).api.client


def api(laptop: Laptop) -> FleetNode:
    return laptop.fleet.nodes[0]


async def test_unsigned_module(node: Fleet, laptop: Laptop) -> None:
    submitter = node.home.identity("submitter")
    unsigned = document.encode(node.publisher.manifest("hello", b"\0asm\1\0\0\0"))
    with pytest.raises(ModuleMissingError, match="no module hello"):
        await api(laptop).api.submit(issue(job(node), submitter), b"")
    with pytest.raises(MalformedError):
        await api(laptop).api.submit(issue(job(node), submitter), unsigned)
    await assert_alive(laptop)


async def test_flipped_byte_in_a_module(node: Fleet, laptop: Laptop) -> None:
    wasm, _ = node.home.module("hello")
    for at in range(0, len(wasm), 16):
        with pytest.raises(DigestError, match="are not those of module"):
            await client(laptop).request("PUT", f"{MODULES}/{digest(wasm).hex()}", flipped(wasm, at))
    await assert_alive(laptop)


@pytest.mark.parametrize("part", ["job", "manifest"])
async def test_flipped_byte_in_a_document(part: str, node: Fleet, laptop: Laptop) -> None:
    parts: dict[str, bytes] = {"job": issue(job(node), node.home.identity("submitter")), "manifest": node.home.module("hello")[1]}
    for at in range(0, len(parts[part]), 7):
        with pytest.raises((TrustError, MalformedError, LimitError)) as refused:
            await api(laptop).api.submit(*(parts | {part: flipped(parts[part], at)}).values())
        assert type(refused.value) in BY_CODE.values() and refused.value.hint
    await assert_alive(laptop)


async def test_flipped_byte_in_a_receipt(laptop: Laptop) -> None:
    (result,) = await laptop.run("hello")
    data = result.verified.data
    assert laptop.fleet.verify(data, result.node_document).receipt == result.receipt
    for at in range(len(data)):
        with pytest.raises((TrustError, MalformedError, LimitError)):
            laptop.fleet.verify(flipped(data, at), result.node_document)


async def test_job_signed_by_an_unknown_key(node: Fleet, laptop: Laptop) -> None:
    with pytest.raises(UnknownKeyError, match="no role in this fleet"):
        await api(laptop).api.submit(issue(job(node), STRANGER), b"")
    await assert_alive(laptop)


async def test_job_signed_by_an_expired_key(node: Fleet, laptop: Laptop) -> None:
    trust = node.home.trust().trust
    expired = Grant(role=Role.SUBMITTER, public_key=STRANGER.public, name="left", expires=seconds(node.clock) - 1)
    node.publish(grants=(*trust.grants, expired))
    with pytest.raises(ExpiredError, match=r"submitter grant of key .* has expired"):
        await api(laptop).api.submit(issue(job(node), STRANGER), b"")
    await assert_alive(laptop)


async def test_documents_signed_with_keys_of_other_roles(node: Fleet, laptop: Laptop) -> None:
    submitter, publisher = node.home.identity("submitter"), node.home.identity("publisher")
    with pytest.raises(RoleError, match="is publisher, not submitter"):
        await api(laptop).api.submit(issue(job(node), publisher), b"")
    _, manifest = node.publisher.sign("trap", by=submitter)
    with pytest.raises(RoleError, match="is submitter, not publisher"):
        await api(laptop).api.submit(issue(job(node), submitter), manifest)
    await assert_alive(laptop)


async def test_caller_that_nobody_knows(node: Fleet, laptop: Laptop) -> None:
    stranger = Client(node.nodes["a"].address, identity=STRANGER, clock=node.clock)
    async with stranger:
        with pytest.raises(TrustError, match=r"no role in this fleet|is nobody here"):
            await stranger.request("GET", JOBS)
    await assert_alive(laptop)


async def test_job_of_another_fleet(node: Fleet, laptop: Laptop) -> None:
    with pytest.raises(UnknownKeyError, match="not for this one"):
        await api(laptop).api.submit(issue(job(node, fleet=bytes(16)), node.home.identity("submitter")), b"")
    await assert_alive(laptop)


@pytest.mark.parametrize("late", ["start_by", "until"])
async def test_job_past_its_validity(late: str, node: Fleet, laptop: Laptop) -> None:
    signed = issue(job(node, **{late: seconds(node.clock) - 10}), node.home.identity("submitter"))
    with pytest.raises(ValidityError, match="the job was to"):
        await api(laptop).api.offer(signed, node.home.module("hello")[1], lambda: node.home.module("hello")[0])
    await assert_alive(laptop)


async def test_job_over_a_channel_that_is_not_there(laptop: Laptop) -> None:
    with pytest.raises(NoSuchChannelError, match="press/vlaue"):
        await laptop.submit("hello", channels=["press/vlaue"])
    await assert_alive(laptop)


async def test_empty_window_is_a_step_with_no_samples(node: Fleet, laptop: Laptop) -> None:
    node.publisher.sign_builtin("statistics")
    before = {"start": "2026-01-01T00:00:00Z", "end": "2026-01-01T00:01:00Z"}
    (result,) = await laptop.run("statistics", window=before)
    assert result.ok and result.core is not None and result.core.completeness.received == 0
    assert result.summary["press/value"]["count"] == 0


async def test_body_of_64_mib(laptop: Laptop) -> None:
    body = bytes(64 << 20)
    with pytest.raises(LimitError, match=f"intake.body_bytes is 262144 bytes, met {len(body)}"):
        await client(laptop).request("POST", JOBS, body)
    with pytest.raises(LimitError, match=f"intake.module_bytes is 16777216 bytes, met {len(body)}"):
        await client(laptop).request("PUT", f"{MODULES}/{digest(body).hex()}", body)
    await assert_alive(laptop)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff",
        b"\x81",
        b"\x81\x58\xff\0",
        b"\x81" * 200_000 + b"\x80",
        b"\xa1\x01" * 5_000 + b"\x01",
        b"\x9f\x40\xff",
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\x80",
        b"\x83\x40\x40\x40",
        b"\x81\x01",
        b"\x81\x40\x00",
        encode_parts([b""]),
        encode_parts([b"\xd2" + b"\x84" * 1000]),
    ],
    ids=lambda body: body[:6].hex() or "nothing",
)
async def test_body_that_is_not_the_cbor_it_should_be(body: bytes, laptop: Laptop) -> None:
    with pytest.raises((MalformedError, LimitError)) as refused:
        await client(laptop).request("POST", JOBS, body)
    assert refused.value.hint
    await assert_alive(laptop)


async def test_truncated_documents(node: Fleet, laptop: Laptop) -> None:
    whole = encode_parts([issue(job(node), node.home.identity("submitter")), node.home.module("hello")[1]])
    for length in range(0, len(whole), 23):
        with pytest.raises((MalformedError, LimitError, SignatureError)):
            await client(laptop).request("POST", JOBS, whole[:length])
    await assert_alive(laptop)


async def test_receipts_of_a_job_that_is_not_there(laptop: Laptop) -> None:
    with pytest.raises(NotFoundError, match="no job 0000"):
        async for _ in api(laptop).api.receipts(bytes(16), 5):
            pass
    with pytest.raises(NotFoundError):
        await api(laptop).api.job(bytes(16))
    with pytest.raises(MalformedError, match="the job's id"):
        await client(laptop).request("GET", f"{JOBS}/zz/receipts")
    for wait in ("-1", "nan", "soon"):
        with pytest.raises(MalformedError, match="wait is"):
            await client(laptop).request("GET", f"{JOBS}/{bytes(16).hex()}/receipts?wait={wait}")
    await assert_alive(laptop)


async def test_more_jobs_than_the_queue_holds(fleet: Fleet) -> None:
    fleet.enrol("a", intake={"queue_jobs": 2})
    await fleet.start("a")
    fleet.publisher.sign("slow")
    async with fleet.laptop() as laptop:
        taken = [await laptop.submit("slow"), await laptop.submit("slow", window=window(size="20s"))]
        with pytest.raises(QueueFullError, match=r"intake\.queue_jobs is 2") as refused:
            await laptop.submit("slow")
        assert refused.value.retry
        assert [len(await everything(one)) for one in taken] == [1, 3]
        assert len(await laptop.run("slow")) == 1


async def test_every_refusal_has_a_hint(node: Fleet, laptop: Laptop) -> None:
    with pytest.raises(EdgenodeError) as refused:
        await laptop.submit("hello", limits={"memory": 1 << 30})
    assert "asks for memory" in refused.value.what and refused.value.hint
    await assert_alive(laptop)
