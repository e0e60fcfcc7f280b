"""Who follows a job is woken by its changes, and by no other's."""

from __future__ import annotations

import asyncio

import pytest

from edgenode.intake.progress import Progress

JOB, OTHER = b"job", b"other"


async def test_every_follower_of_the_job_is_woken() -> None:
    progress = Progress()
    with progress.follow(JOB) as one, progress.follow(JOB) as two, progress.follow(OTHER) as three:
        progress.changed(JOB)
        await asyncio.wait_for(asyncio.gather(one.wait(), two.wait()), 1)
        assert not three.is_set()


async def test_a_change_while_nobody_waits_is_not_missed() -> None:
    progress = Progress()
    with progress.follow(JOB) as changed:
        changed.clear()
        progress.changed(JOB)  # between the follower's look and its wait
        progress.changed(JOB)
        await asyncio.wait_for(changed.wait(), 1)


async def test_nothing_is_kept_of_those_who_left() -> None:
    progress = Progress()
    with progress.follow(JOB) as stays:
        with pytest.raises(ConnectionError), progress.follow(JOB):
            raise ConnectionError
        progress.changed(JOB)
        assert stays.is_set()
    assert not progress._followers
    progress.changed(JOB)
