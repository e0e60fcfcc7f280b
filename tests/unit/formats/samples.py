"""Series to convert: random ones as a snapshot may hold them, and one small set whose bytes are written down in docs/stdin.md."""

from __future__ import annotations

import array
import struct
from collections.abc import Sequence

from hypothesis import strategies as st

from edgenode.records import MAX_INT, Channel, Series

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9:./_-]{0,20}", fullmatch=True)
UNITS = st.from_regex(r"[A-Za-z0-9%/.*^_+-]{0,8}", fullmatch=True)
VALUES = (
    st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", struct.pack("<Q", bits))[0]) | st.floats(width=16) | st.floats(width=32)
)
SOON = st.integers(1_700_000_000_000_000_000, 1_700_000_000_000_000_000 + 90 * 86_400 * 10**9)
SHARED = st.integers(0, 4).map(lambda half: 1_700_000_000_000_000_000 + half * 500_000_000)  # so few that channels share them
TIMES = SOON | SHARED | st.integers(0, MAX_INT)


def series(name: str, unit: str, samples: Sequence[tuple[int, float]]) -> Series:
    return Series(Channel(name, unit), array.array("q", [time for time, _ in samples]), array.array("d", [value for _, value in samples]))


@st.composite
def snapshots(draw: st.DrawFn, times: st.SearchStrategy[int] = TIMES, *, empty: bool = True) -> list[Series]:
    """By name, times ascending, as a frame has them; ``empty``: a channel may be without samples."""
    found = []
    for name in sorted(draw(st.sets(NAMES, max_size=5))):
        at = sorted(draw(st.sets(times, min_size=0 if empty else 1, max_size=20)))
        found.append(series(name, draw(UNITS), [(time, draw(VALUES)) for time in at]))
    return found


def rows(snapshot: Sequence[Series]) -> list[tuple[int, str, str, str]]:
    """(time, name, unit, value as float.hex) in the order that every conversion has: by time, then as the channels stand."""
    found = [
        (time, place, one.channel.name, one.channel.unit, value.hex())
        for place, one in enumerate(snapshot)
        for time, value in zip(one.times, one.values, strict=True)
    ]
    return [(time, name, unit, value) for time, _, name, unit, value in sorted(found)]


PRESS = [
    series("press/running", "", [(1_700_000_000_250_000_000, 1.0), (1_700_000_002_000_000_000, float("nan"))]),
    series(
        "press/temperature",
        "Cel",
        [(1_700_000_000_250_000_000, 20.5), (1_700_000_001_000_000_001, -0.1), (1_700_000_003_000_000_000, 1e300)],
    ),
]

UNEVEN = [
    series("a", "V", [(1_700_000_000_000_000_000 + 7 * at, at / 3) for at in range(9_000)]),
    series("b", "", [(1_700_000_000_000_000_000 + 11 * at, float(at)) for at in range(6_000)]),
    series("c", "%", [(1_700_000_000_000_030_000 + at, -float(at)) for at in range(10)]),
    series("d", "", []),
]
"""More samples than are rendered at once, at three rates, with times that channels share."""
