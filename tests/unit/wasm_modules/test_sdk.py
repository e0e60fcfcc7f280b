"""The C SDK, by guests made for it: what it reads, what it refuses, what it writes."""

from __future__ import annotations

import importlib.util
import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import wasmtime
from hypothesis import example, given
from hypothesis import strategies as st

from .guest import (
    MODULES,
    PARAMS,
    ROOT,
    SERIES,
    STATE,
    Context,
    Reply,
    Series,
    committed,
    decode_cbor,
    instantiate,
    module,
    request,
    run,
    section,
    series_body,
)
from .strategies import names, windows

GUESTS = Path(__file__).parent / "guests"


def compiled(source: Path, folder: Path) -> wasmtime.Module:
    spec = importlib.util.spec_from_file_location("build_modules", MODULES / "build.py")
    assert spec is not None and spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    output = folder / f"{source.stem}.wasm"
    build.compile_guest(source, output)
    return module(output)


@pytest.fixture(scope="session")
def echo(tmp_path_factory: pytest.TempPathFactory) -> wasmtime.Module:
    return compiled(GUESTS / "echo.c", tmp_path_factory.mktemp("echo"))


def params(echo: wasmtime.Module, text: str | bytes) -> dict[str, Any]:
    body = text.encode() if isinstance(text, str) else text
    answer = decode_cbor(run(echo, request(params=body)).summary)
    assert isinstance(answer, dict)
    return answer


def traps(guest: wasmtime.Module, data: bytes) -> None:
    with pytest.raises(wasmtime.Trap):
        run(guest, data)


# ---- The request and the reply


@given(windows, st.binary(max_size=20), st.integers(0, 2**64 - 1), st.binary(min_size=32, max_size=32))
def test_everything_that_is_sent_comes_back(echo: wasmtime.Module, window: list[Series], state: bytes, number: int, seed: bytes) -> None:
    context = Context(-5, 2**63 - 1, number, 2**32 - 1, number, 1, 23, 24, seed)
    reply: Reply = run(echo, request(window, b"", state, context))
    by_key = sorted(window, key=lambda one: (len(one.name.encode()), one.name.encode()))
    answer = decode_cbor(reply.summary)
    assert answer["context"] == [-5, 2**63 - 1, number, 2**32 - 1, number, 1, 23, 24]
    assert answer["series"] == [one.name for one in by_key]
    assert (reply.state, reply.alert) == (state, seed)
    # Bytes, not floats: a NaN's payload must come through too.
    assert [series_body(one) for one in reply.derived] == [series_body(one) for one in by_key]


def test_unknown_sections_are_skipped(echo: wasmtime.Module) -> None:
    plain = request([Series("a", "V", [1], [2.0])], b'{"number": 3}')
    with_more = plain + section(0, b"") + section(0, b"") + section(99, b"later") + section(2**32 - 1, b"")
    assert run(echo, with_more).sections == run(echo, plain).sections


CONTEXT_SECTION = request()
ONE = request([Series("abc", "V", [1, 2], [3.0, 4.0])])
BODY = series_body(Series("abc", "V", [1, 2], [3.0, 4.0]))


def with_series(*bodies: bytes, count: int | None = None) -> bytes:
    context = struct.pack("<II", 1, 96) + Context().encode(len(bodies) if count is None else count)
    return context + b"".join(section(SERIES, body) for body in bodies)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(CONTEXT_SECTION[:-8], id="context cut short"),
        pytest.param(CONTEXT_SECTION + b"\0\0\0\0", id="no multiple of eight"),
        pytest.param(section(1, bytes(88)), id="a short context"),
        pytest.param(section(1, bytes(104)), id="a long context"),
        pytest.param(section(PARAMS, b"{}") + CONTEXT_SECTION, id="context not first"),
        pytest.param(2 * CONTEXT_SECTION, id="two contexts"),
        pytest.param(CONTEXT_SECTION + 2 * section(PARAMS, b"{}"), id="params twice"),
        pytest.param(CONTEXT_SECTION + 2 * section(STATE, b""), id="state twice"),
        pytest.param(CONTEXT_SECTION + struct.pack("<II", 99, 1), id="a body beyond the end"),
        pytest.param(CONTEXT_SECTION + struct.pack("<II", 99, 2**32 - 1), id="a length that wraps"),
        pytest.param(with_series(BODY, count=0), id="more series than said"),
        pytest.param(with_series(BODY, count=2), id="fewer series than said"),
        pytest.param(with_series(count=2**32 - 1), id="series without end"),
        pytest.param(with_series(BODY, BODY), id="a channel twice"),
        pytest.param(with_series(b"\0\0\0\0"), id="half a series head"),
        pytest.param(with_series(BODY[:-8]), id="columns cut short"),
        pytest.param(with_series(BODY + bytes(8)), id="columns too long"),
        pytest.param(with_series(struct.pack("<I", 2**28 + 2) + BODY[4:]), id="a count that wraps"),
        pytest.param(with_series(struct.pack("<IHH", 2, 65535, 65535) + BODY[8:]), id="names beyond the end"),
        pytest.param(with_series(BODY.replace(b"abc", b"a\xffc")), id="a name that is not UTF-8"),
        pytest.param(with_series(BODY.replace(b"V", b"\x80")), id="a unit that is not UTF-8"),
        pytest.param(with_series(series_body(Series("a", "", [2, 1], [0.0, 0.0]))), id="times that go back"),
    ],
)
@pytest.mark.parametrize("name", ["echo", "statistics", "threshold-alarm", "vibration-features"])
def test_malformed_requests_trap(echo: wasmtime.Module, name: str, data: bytes) -> None:
    guest = echo if name == "echo" else committed(name)
    if name == "threshold-alarm" and data.startswith(CONTEXT_SECTION[:8]) and b"{}" not in data:
        data += section(PARAMS, b'{"high": 2, "low": 1}')  # so that what traps is not that they are missing
    traps(guest, data)


@given(st.integers(0, len(ONE) // 4 - 1), st.integers(0, 2**32 - 1) | st.sampled_from([0, 1, 2**31, 2**32 - 1, 2**32 - 8]))
def test_a_word_changed_traps_or_gives_a_whole_reply(echo: wasmtime.Module, at: int, word: int) -> None:
    data = ONE[: 4 * at] + struct.pack("<I", word) + ONE[4 * at + 4 :]
    try:
        reply = run(echo, data)
    except wasmtime.Trap:
        return
    assert decode_cbor(reply.summary)["number"] == -1  # and run() has checked every bound of the reply


def test_memory_that_cannot_grow_is_refused_and_not_overrun(echo: wasmtime.Module) -> None:
    data = request([Series("a", "", list(range(20_000)), [0.0] * 20_000)])
    with pytest.raises(wasmtime.Trap):
        run(echo, data, memory=512 * 1024)  # the request fits, the reply does not


def test_the_allocator_says_no_with_a_zero_and_goes_on(echo: wasmtime.Module) -> None:
    guest = instantiate(echo, memory=256 * 1024)
    for length in (-1, 2**31 - 1, 512 * 1024):
        assert guest.allocate(guest.store, length) == 0
    first, second, third = (guest.allocate(guest.store, length) for length in (1, 0, 9))
    assert first % 8 == 0 and second == third == first + 8


def test_an_unaligned_request_traps(echo: wasmtime.Module) -> None:
    guest = instantiate(echo)
    at = guest.allocate(guest.store, 4096)
    guest.memory.write(guest.store, CONTEXT_SECTION, at + 4)
    with pytest.raises(wasmtime.Trap):
        guest.step(guest.store, at + 4, len(CONTEXT_SECTION))


@pytest.mark.parametrize("name", ["wrong_key_order", "summary_twice"])
def test_a_wrong_reply_traps(name: str, tmp_path: Path) -> None:
    traps(compiled(GUESTS / f"{name}.c", tmp_path), CONTEXT_SECTION)


def test_the_example_in_the_readme_works(tmp_path: Path) -> None:
    source = tmp_path / "above.c"
    source.write_text((ROOT / "sdk" / "c" / "README.md").read_text().split("```c\n")[1].split("```")[0])
    data = request([Series("a", "V", [1, 2, 3], [79.0, 81.0, 82.0]), Series("b", "V", [], [])])
    assert decode_cbor(run(compiled(source, tmp_path), data).summary) == {"a": 2, "b": 0}


# ---- Params


def test_absent_params_leave_the_defaults(echo: wasmtime.Module) -> None:
    for text in ("", "{}", " \t\r\n{ \n } "):
        answer = params(echo, text)
        assert (answer["flag"], answer["text"], answer["number"], answer["numbers"]) == (False, "none", -1, [])


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "flag": st.booleans(),
            "text": names,
            "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(2**70), 2**70),
            "numbers": st.lists(st.floats(allow_nan=False, allow_infinity=False)),
        },
    ),
    st.booleans(),
    st.sampled_from([None, 2]),
)
def test_json_is_read_as_python_reads_it(echo: wasmtime.Module, sent: dict[str, Any], ascii_only: bool, indent: int | None) -> None:
    answer = params(echo, json.dumps(sent, ensure_ascii=ascii_only, indent=indent))
    for key, value in sent.items():
        assert answer[key] == value if key != "number" else answer[key] == float(value)


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,40})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?", fullmatch=True))
@example("9007199254740993")  # 2^53 + 1: a tie, to even
@example("9007199254740993.00000000000000000001")
@example("2.2250738585072011e-308")  # between the subnormals and the normals
@example("2.47032822920623272e-324")  # half of the least subnormal, and a bit less
@example("2.4703282292062328e-324")
@example("1.7976931348623158e308")
@example("-0")
@example("0.1e1")
@example("1e-400")
def test_numbers_are_rounded_correctly(echo: wasmtime.Module, text: str) -> None:
    value = float(text)
    if math.isinf(value):
        traps(echo, request(params=f'{{"number": {text}}}'.encode()))
    else:
        assert struct.pack("<d", params(echo, f'{{"number": {text}}}')["number"]) == struct.pack("<d", value)


def test_a_number_of_64_digits_is_the_longest(echo: wasmtime.Module) -> None:
    assert params(echo, f'{{"number": {"9" * 64}}}')["number"] == 1e64
    assert params(echo, f'{{"number": 0.{"3" * 64}}}')["number"] == 1 / 3
    traps(echo, request(params=f'{{"number": {"9" * 65}}}'.encode()))
    traps(echo, request(params=f'{{"number": 0.{"3" * 65}}}'.encode()))


BAD_OBJECTS = [
    *("[]", "1", "null", "{", "}", "{}}", "{}{}", "{,}", "{number:1}", "{'number':1}", '{"number"}', '{"number":}', '{"number"1}'),
    *('{"number":1,}', '{"number":1"flag":true}', '{"number":1,"number":1}', r'{"number":1,"numb\u0065r":1}', '{"number":1}\0'),
    *('{"unknown":1}', '{"text":1}', '{"te', '{"text":"', '{"text":"abc}', r'{"text":"abc\"', "\ufeff{}"),
]
BAD_NUMBERS = [
    *("", "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "1_0", "- 1", "--1", "1 2", "NaN", "Infinity", "-Infinity", "1e309"),
    *('"1"', "true", "[1]", "null", "{}"),
]
BAD_FLAGS = ["tru", "True", "falsey", "1", '"true"', "t", "f"]
BAD_TEXTS = [r"\x41", r"\u12", r"\u123g", r"\ud800", r"\udc00", r"\ud800\u0041", r"\ud83d\n", "\\", "\n", "\0", "\x1f"]
BAD_ARRAYS = ["[", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[[1]]", '["1"]', "[null]", "1", "]"]


@pytest.mark.parametrize(
    "text",
    [
        *BAD_OBJECTS,
        *(f'{{"number":{bad}}}' for bad in BAD_NUMBERS),
        *(f'{{"flag":{bad}}}' for bad in BAD_FLAGS),
        *(f'{{"text":"{bad}"}}' for bad in BAD_TEXTS),
        *(f'{{"numbers":{bad}}}' for bad in BAD_ARRAYS),
    ],
)
def test_malformed_params_trap(echo: wasmtime.Module, text: str) -> None:
    traps(echo, request(params=text.encode()))


NOT_UTF8 = [b"\x80", b"\xc0\x80", b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"]


@pytest.mark.parametrize("text", NOT_UTF8)
def test_params_that_are_not_utf8_trap(echo: wasmtime.Module, text: bytes) -> None:
    traps(echo, request(params=b'{"text": "' + text + b'"}'))


@given(st.binary(max_size=12))
def test_text_is_utf8_exactly_when_python_says_so(echo: wasmtime.Module, data: bytes) -> None:
    body = series_body(Series("n" * len(data), "", [], [])).replace(b"n" * len(data), data) if data else series_body(Series("", "", [], []))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        traps(echo, with_series(body))
    else:
        assert decode_cbor(run(echo, with_series(body)).summary)["series"] == [text]


def test_escapes(echo: wasmtime.Module) -> None:
    assert params(echo, r'{"\u0074ext": "\"\\\/\b\f\n\r\t\u00e9\u20AC\ud83d\ude00\u0000"}')["text"] == '"\\/\b\f\n\r\té€😀\0'


def test_more_params_than_the_sdk_holds_trap(echo: wasmtime.Module) -> None:
    traps(echo, request(params=json.dumps({f"p{i}": i for i in range(33)}).encode()))


@given(st.text('{}[]",:truefalsn0123456789.eE+-\\u \n', max_size=30))
def test_what_python_refuses_is_refused(echo: wasmtime.Module, text: str) -> None:
    try:
        answer = params(echo, '{"text":' + text)
    except wasmtime.Trap:
        return
    assert json.loads('{"text":' + text)["text"] == answer["text"]
