"""What every test here is held to: no blocked loop, no task, thread or process left behind, no tool silently missing."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import settings

# That one callback may hold the loop, time spent waiting for a processor not counted. Not shorter: a virtual machine that its host stops
# for a third of a second looks, from inside, like a callback that computed for as long.
BLOCKED_SECONDS = 1.0
GRACE_SECONDS = 3.0  # in which what was told to end must be gone

HERE = Path(__file__).parent
IN_CI = os.environ.get("CI") == "true"
MISSING = "needs "  # how the reason of a skip for a missing tool begins

settings.register_profile("edgenode", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if IN_CI else "edgenode")


# blocked loops


class _Watch:
    """Times every callback of every loop.

    A callback blocks when it computes for too long, or waits while the machine could run. A machine that is busy with other work, or stands
    still itself, blocks nothing: the scheduler says how long it let a thread wait for a processor (/proc/thread-self/schedstat, second
    field, ns), a second thread that only sleeps says by how much it overslept, and both are taken off; so is what Python spends on the
    garbage of all tests together.
    """

    def __init__(self) -> None:
        self.blocked: list[str] = []
        self._local = threading.local()
        self._overslept = 0.0  # s, of the sleeping thread since the start
        self._run: Callable[[asyncio.Handle], None] = asyncio.Handle._run

    def install(self) -> None:
        def timed(handle: asyncio.Handle) -> None:
            waited, collected, overslept = self._waited(), self._collected(), self._overslept
            computed, began = time.thread_time(), time.perf_counter()
            self._run(handle)
            took = time.perf_counter() - began
            if took > BLOCKED_SECONDS:
                idle = max(self._waited() - waited, self._overslept - overslept)
                held = max(time.thread_time() - computed, took - idle) - (self._collected() - collected)
                if held > BLOCKED_SECONDS and (name := _blocker(handle)):
                    self.blocked.append(f"{name} held the loop for {held:.2f} s")

        asyncio.Handle._run = timed  # type: ignore[method-assign, assignment]
        gc.callbacks.append(self._collecting)
        threading.Thread(target=self._sleep, name="sleeper", daemon=True).start()

    def uninstall(self) -> None:
        asyncio.Handle._run = self._run  # type: ignore[method-assign, assignment]
        gc.callbacks.remove(self._collecting)

    def _sleep(self) -> None:
        while True:
            began = time.perf_counter()
            time.sleep(0.01)
            self._overslept += time.perf_counter() - began - 0.01

    def _collected(self) -> float:
        return float(getattr(self._local, "collected", 0.0))

    def _collecting(self, phase: str, info: dict[str, int]) -> None:
        now = time.perf_counter()
        if phase == "start":
            self._local.collecting = now
        else:
            self._local.collected = getattr(self._local, "collected", 0.0) + now - self._local.collecting

    def _waited(self) -> float:
        """Seconds that this thread has waited for a processor since it began; 0 where the kernel does not tell."""
        if not hasattr(self._local, "descriptor"):
            try:
                self._local.descriptor = os.open("/proc/thread-self/schedstat", os.O_RDONLY | os.O_CLOEXEC)
            except OSError:
                self._local.descriptor = None
        if self._local.descriptor is None:
            return 0.0
        return int(os.pread(self._local.descriptor, 64, 0).split()[1]) / 1e9


def _blocker(handle: asyncio.Handle) -> str:
    """What ran; empty for the test's own task, whose preparations hold up nothing that is tested."""
    task = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
    if not isinstance(task, asyncio.Task):
        return repr(handle)
    code = getattr(task.get_coro(), "cr_code", None)
    own = code is not None and (Path(code.co_filename).is_relative_to(HERE) or "pytest_asyncio" in code.co_filename)
    return "" if own else repr(task)


class _Leaks:
    """What runs beside the tests: that which a fixture of a wider scope began may stay."""

    def __init__(self) -> None:
        self.tasks: list[str] = []
        self._allowed: set[object] = set()
        self._cancel: Any = asyncio.runners._cancel_all_tasks  # type: ignore[attr-defined]

    def install(self) -> None:
        def cancel(loop: asyncio.AbstractEventLoop) -> None:
            self.tasks += [repr(task) for task in asyncio.all_tasks(loop)]
            self._cancel(loop)

        asyncio.runners._cancel_all_tasks = cancel  # type: ignore[attr-defined]

    def uninstall(self) -> None:
        asyncio.runners._cancel_all_tasks = self._cancel  # type: ignore[attr-defined]

    def allow(self) -> None:
        """Take all that runs now as meant."""
        self._allowed = set(self._running())

    def left(self) -> list[str]:
        end = time.monotonic() + GRACE_SECONDS
        while found := [one for one in self._running() if one not in self._allowed]:
            if time.monotonic() > end:
                return [self._name(one) for one in found]
            time.sleep(0.01)
        return []

    def _running(self) -> list[object]:
        threads: list[object] = list(threading.enumerate())
        return threads + list(psutil.Process().children())

    def _name(self, one: object) -> str:
        if isinstance(one, psutil.Process):
            try:
                return f"process {one.pid} ({one.status()}): {' '.join(one.cmdline())[:200]}"
            except psutil.Error:
                return f"process {one.pid}"
        return f"{one!r}"


_watch, _leaks = _Watch(), _Leaks()


def pytest_sessionstart(session: pytest.Session) -> None:
    _watch.install()
    _leaks.install()


def pytest_sessionfinish(session: pytest.Session) -> None:
    _watch.uninstall()
    _leaks.uninstall()


class _WideFixtures:
    """A plugin of its own: for fixtures of the session pytest asks no conftest below its root folder."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
        result = yield
        if fixturedef.scope != "function":
            _leaks.allow()
        return result


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(_WideFixtures())


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _leaks.allow()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    try:
        return (yield)
    finally:
        blocked, tasks = list(_watch.blocked), list(_leaks.tasks)
        _watch.blocked.clear()
        _leaks.tasks.clear()
        found = [*blocked, *(f"a task was left behind: {task}" for task in tasks)]
        found += [f"left behind: {one}" for one in _leaks.left()]
        if found:
            pytest.fail("\n".join(found), pytrace=False)


# skips


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("root") and os.geteuid() != 0:
        pytest.skip("runs as root only: namespaces and mounts")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where CI runs the tests, every tool is there: to skip for a missing one would hide that a test never runs."""
    report = yield
    if IN_CI and report.skipped and isinstance(report.longrepr, tuple):
        reason = str(report.longrepr[2]).removeprefix("Skipped: ")
        if reason.startswith(MISSING):
            report.outcome, report.longrepr = "failed", f"skipped in CI: {reason}"
    return report
