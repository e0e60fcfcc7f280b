"""The configuration: every key has a default and a type, and an unknown one is told with the nearest that is known."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import HubConfig, IntakeConfig, NodeConfig, SourceConfig, UplinkConfig, build, load
from edgenode.errors import ConfigError

NODE: dict[str, Any] = {"name": "press-7"}
UPLINK = {"url": "https://hub.local:7430", "key": "00" * 32}


def walk(kind: Any, where: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every key of a configuration with its type; a table of any names has the name ``x``."""
    for name, hint in get_type_hints(kind).items():
        members = get_args(hint)
        inner = members[1] if len(members) == 2 and isinstance(members[1], type) else hint
        path = (*where, name) if inner is hint else (*where, name, "x")
        if dataclasses.is_dataclass(inner):
            yield from walk(inner, path)
        elif (kind, name) != (SourceConfig, "options"):
            yield (*where, name), hint


def table(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    """A whole configuration of a node with this one value set."""
    made: dict[str, Any] = {"uplinks": {"x": dict(UPLINK)}, "sources": {"x": {"driver": "host"}}, **NODE}
    at = made
    for name in path[:-1]:
        at = at.setdefault(name, {})
    at[path[-1]] = value
    return made


KEYS = dict(walk(NodeConfig))


def test_the_walk_finds_the_keys() -> None:
    assert {("name",), ("intake", "port"), ("peers", "static"), ("uplinks", "x", "batch"), ("sources", "x", "interval_ms")} <= set(KEYS)
    assert len(KEYS) >= 35


def test_a_name_is_all_that_a_node_or_hub_needs() -> None:
    for kind in (NodeConfig, HubConfig):
        config = build(kind, NODE, "")
        assert config == kind(name="press-7")
    assert build(HubConfig, NODE, "").intake.port != build(NodeConfig, NODE, "").intake.port


@pytest.mark.parametrize("path", [path for path in KEYS if path[0] not in ("uplinks", "sources", "labels")], ids=".".join)
def test_every_default_can_be_written_down_as_it_is(path: tuple[str, ...]) -> None:
    """So that what a commented configuration shows is what holds without it."""
    value: Any = NodeConfig(name="press-7")
    for name in path:
        value = getattr(value, name)
    written = table(path, list(value) if isinstance(value, tuple) else value)
    assert build(NodeConfig, written, "") == build(NodeConfig, table(("name",), "press-7"), "")


@pytest.mark.parametrize("path", [path for path in KEYS if path[0] != "sources"], ids=".".join)  # a source's other keys are its driver's
def test_a_slip_of_the_pen_names_the_key_that_was_meant(path: tuple[str, ...]) -> None:
    slipped = path[-1] + "x"
    with pytest.raises(ConfigError) as caught:
        build(NodeConfig, table((*path[:-1], slipped), 1), "")
    dotted = ".".join((*path[:-1], slipped))
    assert caught.value.what == f"unknown key {dotted}"
    assert caught.value.hint == f"did you mean {path[-1]}?"


def test_a_key_like_no_other_lists_those_that_are_known() -> None:
    with pytest.raises(ConfigError) as caught:
        build(NodeConfig, {**NODE, "ledger": {"qqq": 1}}, "")
    assert caught.value.hint == "known here: blob_bytes, receipts"


WRONG: Mapping[Any, tuple[Any, ...]] = {
    int: ("1", 1.5, True, [], {}, -1),
    float: ("1", True, [], {}, -0.5),
    str: (1, True, [], {}),
    bool: (1, 0, "true", []),
    tuple[str, ...]: ("a", 1, {}, [1], [["a"]]),
    Mapping[str, str]: ("a", 1, [], {"a": 1}),
}


@pytest.mark.parametrize("path", KEYS, ids=".".join)
def test_a_value_of_another_type_is_told_with_its_place(path: tuple[str, ...]) -> None:
    for value in WRONG[KEYS[path]]:
        with pytest.raises(ConfigError) as caught:
            build(NodeConfig, table(path, value), "")
        assert ".".join(path) in caught.value.what
        assert caught.value.hint


@pytest.mark.parametrize("room", ["intake", "peers", "sandbox", "samples", "ledger", "uplinks", "sources"])
def test_a_room_that_is_no_table(room: str) -> None:
    wrong: tuple[Any, ...] = (1, "text", [], [{}])
    for value in wrong:
        with pytest.raises(ConfigError, match=room):
            build(NodeConfig, {**NODE, room: value}, "")


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="the file has no name"):
        build(NodeConfig, {}, "")
    with pytest.raises(ConfigError, match=r"uplinks\.hub has no key"):
        build(NodeConfig, {**NODE, "uplinks": {"hub": {"url": "https://hub"}}}, "")
    with pytest.raises(ConfigError, match=r"sources\.press has no driver"):
        build(NodeConfig, {**NODE, "sources": {"press": {}}}, "")


def test_a_whole_number_will_do_where_a_fraction_may_stand() -> None:
    config = build(NodeConfig, {**NODE, "samples": {"flush_seconds": 2}}, "")
    assert config.samples.flush_seconds == 2.0
    assert isinstance(config.samples.flush_seconds, float)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_time_that_is_no_number_is_refused(value: float) -> None:
    """TOML has nan and inf."""
    with pytest.raises(ConfigError, match=r"samples\.flush_seconds"):
        build(NodeConfig, {**NODE, "samples": {"flush_seconds": value}}, "")


@pytest.mark.parametrize("name", ["", "Press", "press_7", "-press", "press-", "press.7", "a" * 64, "présse", "press\n"])
def test_a_name_is_a_host_name(name: str) -> None:
    for kind in (NodeConfig, HubConfig):
        with pytest.raises(ConfigError, match="name is"):
            build(kind, {"name": name}, "")


@pytest.mark.parametrize("name", ["a", "7", "press-7", "a" * 63])
def test_host_names_are_taken(name: str) -> None:
    assert build(NodeConfig, {"name": name}, "").name == name


def test_a_sources_other_keys_are_its_drivers() -> None:
    config = build(NodeConfig, {**NODE, "sources": {"press": {"driver": "replay", "interval_ms": 10, "path": "a.csv", "options": 3}}}, "")
    source = config.sources["press"]
    assert (source.driver, source.interval_ms, dict(source.options)) == ("replay", 10, {"path": "a.csv", "options": 3})


@pytest.mark.parametrize("interval", [0, -1])
def test_a_source_is_read_at_most_once_a_millisecond(interval: int) -> None:
    with pytest.raises(ConfigError, match="interval_ms"):
        build(NodeConfig, {**NODE, "sources": {"press": {"driver": "host", "interval_ms": interval}}}, "")


def test_a_configuration_cannot_be_changed() -> None:
    for one in (NodeConfig(name="a"), IntakeConfig(), UplinkConfig(url="", key="")):
        for field in dataclasses.fields(one):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(one, field.name, None)


# files


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "edgenode.toml"
    path.write_text('name = "press-7"\n[intake]\nport = 1\n[labels]\nline = "3"\n')
    config = load(path, NodeConfig)
    assert (config.name, config.intake.port, config.labels) == ("press-7", 1, {"line": "3"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"\nname = ?", "line 2"),
        (b'name = "a"\nname = "b"\n', "overwrite"),
        (b"\xff\xfe", "decode"),
        (b'name = "a"\nprot = 1\n', "unknown key prot"),
        (b"", "has no name"),
        (b"x = 1" + b"0" * 5_000, "digits"),
        (b"a=" + b"[" * 5_000, "recursion"),
    ],
)
def test_an_error_names_the_file_and_the_reason(tmp_path: Path, text: bytes, says: str) -> None:
    path = tmp_path / "edgenode.toml"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match=says) as caught:
        load(path, NodeConfig)
    assert str(path) in caught.value.what
    assert caught.value.hint


def test_a_file_that_is_not_there_says_what_makes_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file") as caught:
        load(tmp_path / "edgenode.toml", NodeConfig)
    assert "node init" in caught.value.hint


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(path=st.sampled_from(list(KEYS)), value=values)
def test_any_value_is_taken_or_refused_as_configuration(path: tuple[str, ...], value: Any) -> None:
    try:
        build(NodeConfig, table(path, value), "")
    except ConfigError as error:
        assert error.what


@pytest.mark.parametrize("address", ["", "nobody", "host:", "host:http", "host:0", "host:70000", ":7420"])
def test_static_peer_that_is_no_address_is_told(address: str) -> None:
    with pytest.raises(ConfigError, match=r"peers\.static"):
        build(NodeConfig, {"name": "a", "peers": {"static": [address]}}, "")


def test_key_that_is_no_text_is_told() -> None:
    with pytest.raises(ConfigError, match="has the key 0"):
        build(NodeConfig, {"name": "a", "peers": {0: None}}, "")
