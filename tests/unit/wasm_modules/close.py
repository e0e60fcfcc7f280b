"""When two computations of the same features agree."""

from __future__ import annotations

import math
from typing import Any

import pytest

from .guest import Series

RELATIVE = 1e-11
ROUNDING = 1e-15  # of the largest magnitude in the series: what is left of a difference that cancels


def assert_close(answer: dict[str, Any], second: dict[str, Any], series: Series) -> None:
    """Same fields, same integers, and floats that differ by rounding only."""
    magnitude = max((abs(value) for value in series.values if math.isfinite(value)), default=0.0)
    assert answer.keys() == second.keys()
    for name, value in answer.items():
        other = second[name]
        if name == "bands":
            assert [band[:2] for band in value] == [pytest.approx(band[:2], rel=RELATIVE) for band in other]
            if magnitude < 1e150:  # above, the square of mere rounding can be infinite
                absolute = max(RELATIVE * sum(band[2] for band in other), (ROUNDING * magnitude) ** 2)
                assert [band[2] for band in value] == pytest.approx([band[2] for band in other], rel=RELATIVE, abs=absolute)
        elif name == "quantiles":
            assert [q for q, _ in value] == [q for q, _ in other]
            assert [found for _, found in value] == pytest.approx([found for _, found in other], rel=RELATIVE, abs=ROUNDING * magnitude)
        elif name in ("crest", "kurtosis"):
            # Ratios of deviations: where those are nothing but rounding, so are they.
            if answer["rms"] > 1e-9 * magnitude:
                assert value == pytest.approx(other, rel=1e-6)
        elif isinstance(value, float):
            assert value == pytest.approx(other, rel=RELATIVE, abs=ROUNDING * magnitude)
        else:
            assert value == other, name
