"""What the outbox of a real node promises an uplink, whatever that answers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets

from edgenode.config import UplinkConfig
from edgenode.formats.trust import Role
from edgenode.testing import Fleet, MemoryUplink, window
from edgenode.trust.identity import Identity
from edgenode.uplink.forward import Forwarder

from .steps import assert_steps, until


async def test_receipt_that_the_hub_cannot_even_read_holds_up_no_other(fleet: Fleet) -> None:
    fleet.enrol_hub()
    fleet.enrol("a", uplinks=fleet.uplink(port=9))  # nobody is there: the uplink of this test takes what waits
    fleet.publisher.sign("hello")
    agent = (await fleet.start("a")).agent
    async with fleet.laptop() as laptop:
        results = await laptop.run("hello", window=window(size="10s"))
    assert_steps(results, 6)
    hub = Identity(secrets.token_bytes(32))
    fleet.home.grant(Role.HUB, hub.public, "hub")
    refused = results[2].verified.data
    uplink = MemoryUplink(agent._identity.public, hub, fleet.publish(), fleet.clock, refuse=lambda data: data == refused)
    forwarding = asyncio.create_task(Forwarder(agent._outbox, uplink, UplinkConfig(url="", key="", batch=2), fleet.clock).run())
    await until(lambda: agent._outbox.waiting() == 0)
    forwarding.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await forwarding
    assert sorted(uplink.stored.values()) == sorted(result.verified.data for result in results if result.verified.data != refused)
    assert agent._outbox.rejected() == 1
