"""What a command reads on stdin: its snapshot's frame, or a conversion of it into the media type that its manifest names (docs/stdin.md).

A snapshot's digest is always of the frame. A conversion is pure and the same to the byte on every machine, so a replay need not keep it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from edgenode.formats import senml, table
from edgenode.formats.frame import decode_frame
from edgenode.formats.manifest import FRAME
from edgenode.records import Abi, Series

CONVERSIONS: Final = 1
"""Raised with any change to the bytes that a conversion makes: it is part of what decides a command's result."""

_ENCODERS: Final[Mapping[str, Callable[[list[Series]], bytes]]] = MappingProxyType(
    {table.MEDIA_TYPE: table.encode, senml.JSON: senml.encode_json, senml.CBOR: senml.encode_cbor}
)

MEDIA_TYPES: Final = (FRAME, *_ENCODERS)


def fits(abi: Abi, media_type: str) -> bool:
    """Whether a module of this ABI can have its samples so."""
    return media_type == FRAME if abi is Abi.STEP else media_type in MEDIA_TYPES


def convert(media_type: str, frame: bytes | memoryview) -> bytes | memoryview:
    """``frame`` in one of MEDIA_TYPES; as FRAME it is passed on as it is, unread.

    Raises KeyError for another media type, MalformedError for what is no snapshot's frame.
    """
    return frame if media_type == FRAME else _ENCODERS[media_type](decode_frame(frame))
