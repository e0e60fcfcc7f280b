"""Keeps one source alive, by itself.

    starting --first poll--> running --error--> backing off --delay--> starting
                                \\--run() returned--> finished

Each source has a task of its own, so one that is dead, slow or hung delays no other.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass
from enum import StrEnum

from edgenode.clock import Clock
from edgenode.errors import EdgenodeError
from edgenode.records import Poll
from edgenode.sensors.source import Sink, Source


class State(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    BACKING_OFF = "backing off"
    FINISHED = "finished"


@dataclass(slots=True)
class Health:
    """How one source is doing. Counters run since the start; only the source's runner changes it."""

    state: State = State.STARTING
    polls: int = 0
    samples: int = 0
    dropped: int = 0  # readings that failed, were not numbers, or whose time was missed
    errors: int = 0  # times that the source was restarted
    last_seen_ns: int | None = None  # when the last poll came in, ns since 1970
    last_error: str = ""  # one line: what happened, and what to do


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before a restart, in seconds: doubled after each failure in a row, up to ``most``, less up to half by chance.

    The chance keeps a floor full of nodes from calling a returning PLC or broker in the same instant.
    """

    first: float = 0.5
    most: float = 60.0

    def delay(self, failures: int, chance: float) -> float:
        """Seconds after ``failures`` in a row (from 1); ``chance`` is in [0, 1)."""
        longest = min(self.most, self.first * 2.0 ** min(failures - 1, 64))
        return longest * (1 - chance / 2)


DEFAULT_BACKOFF = Backoff()


async def run_source(source: Source, sink: Sink, health: Health, clock: Clock, backoff: Backoff = DEFAULT_BACKOFF) -> None:
    """Run ``source`` into ``sink`` until it is finished or this task is cancelled; whatever it raises only restarts it."""
    failures = 0

    def counted(poll: Poll) -> None:
        nonlocal failures
        sink(poll)
        failures = 0
        health.state = State.RUNNING
        health.polls += 1
        health.samples += len(poll.values)
        health.dropped += poll.dropped
        health.last_seen_ns = clock.now_ns()

    while True:
        health.state = State.STARTING
        try:
            await source.run(counted)
        except asyncio.CancelledError as error:
            # A driver's library may let the cancellation of a future of its own escape: only ours ends the source.
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            health.last_error = describe(error)
        except Exception as error:
            health.last_error = describe(error)
        else:
            health.state = State.FINISHED
            return
        failures += 1
        health.errors += 1
        health.state = State.BACKING_OFF
        await asyncio.sleep(backoff.delay(failures, random.random()))  # noqa: S311 - spreads load, guards nothing


def describe(error: BaseException) -> str:
    """An error in one line: what happened, and what to do about it."""
    if isinstance(error, EdgenodeError):
        what, hint = error.what, error.hint
    elif isinstance(error, OSError):
        what = str(error) if error.strerror is None else error.strerror
        what = f"{error.filename}: {what}" if error.filename else what or type(error).__name__
        hint = "check that the device or file is there, and that this user may read it"
    else:
        what, hint = f"{type(error).__name__}: {error}", "a fault of the driver: report it with this line"
    return " ".join((f"{what} ({hint})" if hint else what).split())
