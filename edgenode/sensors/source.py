"""What a source is. A driver implements this and nothing else; edgenode.sensors.runner keeps it alive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from edgenode.clock import Clock
from edgenode.config import SourceConfig
from edgenode.records import Channel, Poll

Sink = Callable[[Poll], None]
"""Takes one reading. Called on the event loop, never blocks."""


class Source(Protocol):
    """One configured sensor, broker or device, polled or pushed to."""

    def channels(self) -> Sequence[Channel]:
        """The channels known so far: may be none before the first poll, and grow later."""

    async def run(self, sink: Sink) -> None:
        """Deliver readings until cancelled; return only when there will be no more.

        Raises whatever went wrong: the runner counts it, waits and calls ``run`` again. Never blocks the loop: what blocks goes
        through edgenode.sensors.blocking.
        """


Driver = Callable[[str, SourceConfig, Clock], Source]
"""Builds a source from its name, its config and the clock, without touching the device. Raises ConfigError for a wrong option."""
