"""Which conversion a manifest's media type names."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgenode.errors import MalformedError
from edgenode.formats import senml, stdin, table
from edgenode.formats.frame import encode_frame
from edgenode.formats.manifest import FRAME
from tests.unit.formats.samples import PRESS, UNEVEN, series

DOCUMENT = Path(__file__).parents[3] / "docs" / "stdin.md"

DIGESTS = {
    FRAME: "15ffe8f7f13171b78791aa19b66e5834e296d4e2d4fe5a3cd9fb8fec6c559ada",
    "text/csv": "c7c8bb48ce4ca0a54d5769828f8cf4fa6b18080e3bcee74209b364aae2b3a940",
    "application/senml+json": "e7dc27f4bda306af0b3ba540cdbc7f0a1dc7b66e17d32178cad9293919a739a2",
    "application/senml+cbor": "be260aeb8621a9f934584b1af3c049a035998ebf4817590194f838b44f23803d",
}
"""SHA-256 of each conversion of UNEVEN, version 1: when one changes, stdin.CONVERSIONS must."""


@pytest.mark.parametrize(
    ("media_type", "encode"),
    [("text/csv", table.encode), ("application/senml+json", senml.encode_json), ("application/senml+cbor", senml.encode_cbor)],
)
def test_a_media_type_names_its_conversion(media_type: str, encode: object) -> None:
    assert callable(encode)
    assert stdin.convert(media_type, memoryview(encode_frame(PRESS))) == encode(PRESS)


def test_a_frame_is_passed_as_it_is() -> None:
    frame = memoryview(encode_frame(PRESS))
    assert stdin.convert(FRAME, frame) is frame


def test_the_bytes_are_those_of_this_version() -> None:
    frame = encode_frame(UNEVEN)
    assert stdin.CONVERSIONS == 1
    assert {media_type: hashlib.sha256(stdin.convert(media_type, frame)).hexdigest() for media_type in stdin.MEDIA_TYPES} == DIGESTS


def test_the_examples_of_the_document_are_these_bytes() -> None:
    blocks = re.findall(r"(?:^ {4}.*\n)+", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    written = [textwrap.dedent(block).encode() for block in blocks]
    assert written[:2] == [table.encode(PRESS), senml.encode_json(PRESS)]
    assert bytes.fromhex(written[2].decode()) == senml.encode_cbor(PRESS)


def test_another_media_type_is_the_callers_mistake() -> None:
    with pytest.raises(KeyError):
        stdin.convert("text/html", b"")


@pytest.mark.parametrize("media_type", stdin.MEDIA_TYPES[1:])
def test_what_is_no_snapshots_frame_is_malformed(media_type: str) -> None:
    for frame in (b"frame", encode_frame([series("a", "", [(-1, 0.0)])]), encode_frame([series("a", "", [(1, 0.0), (1, 0.0)])])):
        with pytest.raises(MalformedError):
            stdin.convert(media_type, frame)


def test_a_worker_loads_no_library_for_it() -> None:
    check = "import sys, edgenode.formats.stdin; print([one for one in ('cbor2', 'csv', 'json', 'decimal') if one in sys.modules])"
    assert subprocess.run([sys.executable, "-c", check], check=True, capture_output=True, text=True).stdout == "[]\n"
