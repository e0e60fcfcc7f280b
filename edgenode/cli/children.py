"""Child processes that run commands of ours, and are ended whatever happens to their parent's work.

start  a command that prints one ready line of JSON and then stays
run    a command that prints one line of JSON and ends
"""

from __future__ import annotations

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edgenode.errors import EdgenodeError

START_SECONDS = 60.0  # many on a small machine; one that fails is noticed at once
STOP_SECONDS = 5.0
LOG_LINES = 20  # of a child that failed, in the hint


@dataclass(frozen=True, slots=True)
class Child:
    name: str
    process: asyncio.subprocess.Process
    log: Path
    ready: dict[str, Any]  # what its ready line said


class Children:
    """Use as an async context manager: its end is theirs. Logs go into ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._processes: list[asyncio.subprocess.Process] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        # In a task of its own, so that a second Ctrl-C cannot leave any behind.
        await asyncio.shield(asyncio.ensure_future(self._end()))

    async def start(self, name: str, *arguments: str) -> Child:
        """Start a command and wait for its ready line. Raises EdgenodeError with the end of its log when none comes."""
        process, log, line = await self._launch(name, arguments)
        try:
            ready = json.loads(line)
        except ValueError:
            raise self._failed(name, log) from None
        return Child(name, process, log, ready)

    async def run(self, name: str, *arguments: str) -> dict[str, Any]:
        """Run a command to its end; its answer. Raises EdgenodeError with the end of its log when it fails."""
        process, log, line = await self._launch(name, arguments)
        if await process.wait():
            raise self._failed(name, log)
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _launch(self, name: str, arguments: tuple[str, ...]) -> tuple[asyncio.subprocess.Process, Path, bytes]:
        log = self._folder / f"{name}.log"
        with log.open("ab") as stderr:
            # In a session of its own: Ctrl-C at the terminal is for this process, which ends its children in order.
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "edgenode",
                *arguments,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        self._processes.append(process)
        if process.stdout is None:
            raise RuntimeError("stdout is a pipe")
        try:
            async with asyncio.timeout(START_SECONDS):
                return process, log, await process.stdout.readline()
        except TimeoutError:
            raise self._failed(name, log) from None

    def _failed(self, name: str, log: Path) -> EdgenodeError:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:]
        return EdgenodeError(f"{name} did not start", hint="its log ends:\n  " + "\n  ".join(lines or ["(empty)"]))

    async def _end(self) -> None:
        running = [process for process in self._processes if process.returncode is None]
        for process in running:
            process.terminate()
        ending = asyncio.gather(*(process.wait() for process in running))
        try:
            await asyncio.wait_for(asyncio.shield(ending), STOP_SECONDS)
        except TimeoutError:
            for process in running:
                if process.returncode is None:
                    process.kill()
            await ending
