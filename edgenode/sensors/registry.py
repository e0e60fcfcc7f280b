"""Drivers by name. A driver's module, and with it the driver's library, is imported only when a source asks for it."""

from __future__ import annotations

import importlib
from typing import cast

from edgenode.clock import Clock
from edgenode.config import SourceConfig, unknown_key
from edgenode.sensors.source import Driver, Source

_BUILT_IN = {
    "host": ("edgenode.sensors.drivers.host", "HostSource"),
    "replay": ("edgenode.sensors.drivers.replay", "ReplaySource"),
}


def drivers() -> list[str]:
    """The names of the drivers there are."""
    return sorted(_BUILT_IN)


def build(name: str, config: SourceConfig, clock: Clock) -> Source:
    """The source ``name``, not yet started. Raises ConfigError for an unknown driver or option, naming the nearest known one."""
    return _driver(name, config.driver)(name, config, clock)


def _driver(source: str, driver: str) -> Driver:
    # The one place where drivers are looked up: those of other packages (entry points of the group "edgenode.sources") join here.
    if driver not in _BUILT_IN:
        raise unknown_key(f"{driver!r} as sources.{source}.driver", driver, drivers())
    module, attribute = _BUILT_IN[driver]
    return cast(Driver, getattr(importlib.import_module(module), attribute))
