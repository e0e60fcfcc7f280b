"""Drivers by name."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from edgenode.clock import SystemClock
from edgenode.config import SourceConfig
from edgenode.errors import ConfigError
from edgenode.sensors.registry import build, drivers


@pytest.mark.parametrize(
    ("driver", "options", "hint"),
    [
        ("hots", {}, "host"),
        ("host", {"reading": ["cpu"]}, "readings"),
        ("host", {"readings": ["cpus"]}, "cpu"),
        ("host", {"readings": "cpu"}, "a list"),
        ("replay", {}, "path"),
        ("replay", {"path": "a.csv", "speeed": 2.0}, "speed"),
        ("replay", {"path": "a.csv", "speed": -1.0}, "not below 0"),
        ("replay", {"path": "a.csv", "speed": 0.0, "loop": True}, "speed above 0"),
        ("replay", {"path": "a.csv", "columns": {"x": {"units": "V"}}}, "unit"),
        ("replay", {"path": "a.csv", "columns": {"the x": {}}}, "a letter or digit"),
    ],
)
def test_a_wrong_driver_or_option_names_the_nearest_known_one(driver: str, options: dict[str, Any], hint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build("s", SourceConfig(driver=driver, options=options), SystemClock())
    assert hint in caught.value.hint


def test_a_driver_is_imported_only_when_a_source_asks_for_it() -> None:
    script = "import sys, edgenode.sensors.registry, edgenode.sensors.snapshot; sys.exit('psutil' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
    assert drivers() == ["host", "replay"]
