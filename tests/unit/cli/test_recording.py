"""CSV files of samples for ``edgenode exec``."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.cli import recording
from edgenode.errors import ConfigError

SECOND = 1_000_000_000


def read(path: Path, text: str) -> dict[str, tuple[str, list[int], list[float]]]:
    path.write_text(text)
    return {one.channel.name: (one.channel.unit, list(one.times), list(one.values)) for one in recording.read(path)}


def test_rows_in_any_order(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", "value,time,channel\n2,1,a\n1,0,a\n9,0,b\n3,1,a\n")
    assert found == {"a": ("", [0, SECOND], [1.0, 3.0]), "b": ("", [0], [9.0])}


def test_columns_with_units_and_gaps(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", "time,press.temp [Cel],rpm\n0,20.5,\n1,,900\n")
    assert found == {"press.temp": ("Cel", [0], [20.5]), "rpm": ("", [SECOND], [900.0])}


@pytest.mark.parametrize(
    "text", ["", "a,b\n1,2\n", "time,a\nnoon,1\n", "time,a\n0,x\n", "time,ä\n0,1\n", 'time,a\n0,"1\n', "time,channel,value\n0\n"]
)
def test_what_cannot_be_read_is_told(text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        read(tmp_path / "a.csv", text)


@given(st.binary(max_size=200).map(lambda tail: b"time,a\n0," + tail))
def test_any_bytes_give_series_or_a_clear_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(data)
    try:
        recording.read(path)
    except ConfigError as error:
        assert error.what
