"""The same fleet without async: a private event loop in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from edgenode.transport.node_api import Execution
from edgenode_sdk import spec as specs
from edgenode_sdk.fleet import AsyncFleet, Submission
from edgenode_sdk.home import Home
from edgenode_sdk.result import Result
from edgenode_sdk.spec import JobSpec

T = TypeVar("T")


class Fleet:
    """Nodes of one fleet in reach, for scripts and notebooks. Use ``discover`` or ``connect`` as a context manager."""

    def __init__(self, loop: _Loop, fleet: AsyncFleet) -> None:
        self._loop, self._fleet = loop, fleet

    @classmethod
    def discover(cls, home: Home | None = None, *, interfaces: Sequence[str] = (), least: int = 1, patience: float = 5.0) -> Self:
        """Find nodes by mDNS; see AsyncFleet.discover."""
        return cls._open(lambda: AsyncFleet.discover(home, interfaces=interfaces, least=least, patience=patience))

    @classmethod
    def connect(cls, *addresses: str, home: Home | None = None) -> Self:
        """Nodes at known addresses (host:port)."""
        return cls._open(lambda: AsyncFleet.connect(*addresses, home=home))

    @classmethod
    def _open(cls, make: Any) -> Self:
        loop = _Loop()
        try:
            return cls(loop, loop.run(make()))
        except BaseException:
            loop.close()
            raise

    @property
    def nodes(self) -> list[str]:
        """The names of the nodes in reach."""
        return [node.node.name for node in self._fleet.nodes]

    def submit(self, spec: JobSpec | Mapping[str, Any] | str | Path, *, through: str | None = None) -> Handle:
        """Sign a job (a JobSpec, a mapping, or the path of a job file) and hand it to one node, which passes it on."""
        parsed = specs.load(Path(spec)) if isinstance(spec, str | Path) else spec
        return Handle(self._loop, self._loop.run(self._fleet.submit(parsed, through=through)))

    def close(self) -> None:
        self._loop.run(self._fleet.close())
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class Handle:
    """A submitted job."""

    def __init__(self, loop: _Loop, submission: Submission) -> None:
        self._loop, self._submission = loop, submission

    @property
    def id(self) -> str:
        return self._submission.id

    @property
    def executions(self) -> dict[str, Execution]:
        """What became of the job at each node, by its key in hex, as far as ``receipts`` has heard."""
        return self._submission.executions

    def receipts(self, wait: float = 60.0) -> Iterator[Result]:
        """Each receipt, verified on this machine, as it comes."""
        stream = self._submission.receipts(wait)
        try:
            while True:
                try:
                    yield self._loop.run(anext(stream))
                except StopAsyncIteration:
                    return
        finally:
            self._loop.run(stream.aclose())  # type: ignore[attr-defined]  # an async generator


class _Loop:
    """An event loop that runs in a thread until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="edgenode-sdk", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T] | Any) -> T:
        async def awaited() -> T:
            result: T = await work
            return result

        future = asyncio.run_coroutine_threadsafe(awaited(), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
