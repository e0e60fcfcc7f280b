from __future__ import annotations

import pytest

from .doubles import Keys, MemoryUplink


@pytest.fixture
def keys() -> Keys:
    return Keys()


@pytest.fixture
async def uplink(keys: Keys) -> MemoryUplink:
    return MemoryUplink(keys)
