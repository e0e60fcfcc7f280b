"""Outbox -> uplink, one batch at a time, so that nothing is reordered, and nothing is taken out before it is acknowledged.

pending --batch--> deliver --ack--> settle --+
   ^                  |               |      |
   |                  +-----error-----+      |
   |                          v              |
   +--------------------- back off           |
   +-----------------------------------------+  until nothing waits; then idle until woken
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import ParamSpec, TypeVar

from edgenode.clock import Clock
from edgenode.config import UplinkConfig
from edgenode.errors import ConfigError, EdgenodeError, TransportError
from edgenode.formats.receipt import Ack
from edgenode.transport.wire import BATCH_BYTES, BATCH_RECEIPTS
from edgenode.uplink.uplink import Outbox, Uplink

log = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")

_dice = random.SystemRandom()


class ForwarderState(StrEnum):
    IDLE = "idle"
    SENDING = "sending"
    BACKING_OFF = "backing off"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForwarderStatus:
    """How forwarding goes. Times are ns since 1970, None for never."""

    state: ForwarderState
    waiting: int  # receipts that nobody has acknowledged
    sent: int  # receipts settled since the start
    last_success_ns: int | None
    last_error: str  # one line with its hint; empty for none since the start
    last_error_ns: int | None
    next_try_ns: int | None  # while backing off


class Forwarder:
    """Carries one outbox upstream. ``run`` is the task; whoever made the uplink closes it after the task has ended."""

    def __init__(self, outbox: Outbox, uplink: Uplink, config: UplinkConfig, clock: Clock) -> None:
        if not 1 <= config.batch <= BATCH_RECEIPTS:
            raise ConfigError(f"the uplink's batch is {config.batch}", hint=f"1 to {BATCH_RECEIPTS} receipts")
        if not 0 < config.backoff_seconds <= config.backoff_most:
            hint = "backoff_seconds is above 0, and backoff_most not below it"
            raise ConfigError(f"the uplink backs off for {config.backoff_seconds} to {config.backoff_most} s", hint=hint)
        self._outbox = outbox
        self._uplink = uplink
        self._config = config
        self._clock = clock
        self._woken = asyncio.Event()
        self._state = ForwarderState.IDLE
        self._ceiling = config.backoff_seconds  # of the next wait after a failure, s
        self._sent = 0
        self._last_success_ns: int | None = None
        self._last_error = ""
        self._last_error_ns: int | None = None
        self._next_try_ns: int | None = None

    def wake(self) -> None:
        """Receipts were committed. Call it on the loop; while backing off it shortens nothing, so that a busy node does not hammer."""
        self._woken.set()

    async def status(self) -> ForwarderStatus:
        """Raises StorageError when the outbox cannot be counted."""
        return ForwarderStatus(
            state=self._state,
            waiting=await _off_loop(self._outbox.waiting),
            sent=self._sent,
            last_success_ns=self._last_success_ns,
            last_error=self._last_error,
            last_error_ns=self._last_error_ns,
            next_try_ns=self._next_try_ns,
        )

    async def run(self) -> None:
        """Forward until cancelled. When it has ended, no call into the outbox is under way."""
        while True:
            self._woken.clear()  # before the outbox is read, so that what is committed meanwhile is not missed
            try:
                await self._drain()
            except EdgenodeError as error:
                await self._back_off(f"{error.what}; {error.hint}" if error.hint else error.what)
            except Exception as error:  # a defect, here or in a driver: results must still leave the node when it passes
                log.exception("forwarding failed unexpectedly")
                await self._back_off(f"{type(error).__name__}: {error}")
            else:
                self._state = ForwarderState.IDLE
                await self._woken.wait()

    async def _drain(self) -> None:
        while batch := await _off_loop(self._outbox.pending, self._config.batch, BATCH_BYTES):
            self._state = ForwarderState.SENDING
            verified = await self._uplink.deliver(batch)
            settled = await _off_loop(self._outbox.settle, verified.ack)
            if not settled:
                # To send the same batch again at once would be a hot loop on both ends.
                what = f"the acknowledgement settles none of the {len(batch.receipts)} receipts sent"
                raise TransportError(what, hint="look at the hub's log")
            self._succeeded(settled, verified.ack)

    def _succeeded(self, settled: int, ack: Ack) -> None:
        if self._ceiling > self._config.backoff_seconds:
            log.info("forwarding again after: %s", self._last_error)
        for one in ack.rejected:
            log.warning("the hub rejects receipt %d for good: %s", one.seq, one.code)
        self._ceiling = self._config.backoff_seconds
        self._sent += settled
        self._last_success_ns = self._clock.now_ns()

    async def _back_off(self, error: str) -> None:
        """Wait a random time below a ceiling that doubles (full jitter), so that a fleet does not come back as one."""
        if error != self._last_error or self._ceiling == self._config.backoff_seconds:
            log.warning("cannot forward receipts, trying again: %s", error)
        delay = _dice.uniform(0, self._ceiling)
        self._ceiling = min(2 * self._ceiling, self._config.backoff_most)
        now = self._clock.now_ns()
        self._last_error, self._last_error_ns = error, now
        self._state, self._next_try_ns = ForwarderState.BACKING_OFF, now + int(delay * 1e9)
        await asyncio.sleep(delay)
        self._next_try_ns = None


async def _off_loop(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a blocking call in a thread; when cancelled, end only after it, so that what it uses can be closed."""
    running = asyncio.ensure_future(asyncio.to_thread(call, *args, **kwargs))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        with contextlib.suppress(Exception):
            await running
        raise
