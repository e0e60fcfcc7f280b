"""The targets of ``make fuzz``, for a moment: good bytes, and good bytes with a few changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from .targets import SEEDS, TARGETS
from .test_parsers import hostile

EXAMPLES_EACH = 60


@pytest.mark.parametrize("name", TARGETS)
def test_target_takes_its_seeds(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=EXAMPLES_EACH, deadline=None)
@given(data=st.data())
def test_target_takes_any_bytes(name: str, data: st.DataObject) -> None:
    TARGETS[name](data.draw(hostile(*SEEDS[name])))
