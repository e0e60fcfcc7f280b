"""Deterministic CBOR (RFC 8949 §4.2.1) behind a strict scanner.

Bytes from outside are walked here before cbor2 sees them: cbor2 by itself accepts indefinite lengths, shared references, tags with
behaviour, duplicate keys and trailing bytes, and some of these cost time or memory without bound.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cbor2

from edgenode.errors import LimitError, MalformedError

SIGN1_TAG, SIGN_TAG = 18, 98  # COSE_Sign1 and COSE_Sign (RFC 9052 §2)


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of bytes may hold. Both are bounded in depth and in items, so that a small input cannot make much work."""

    name: str
    depth: int
    items: int
    tags: frozenset[int] = frozenset()  # at the outermost level only
    free: bool = False  # text and negative keys, negative numbers, floats and null, as a guest's answer may hold


# The most items that any document may have within its fields' bounds: a trust document, with 4096 grants of 9 items and 20,000 revocations.
DOCUMENT = Profile("document", depth=6, items=60_000, tags=frozenset({SIGN1_TAG, SIGN_TAG}))
PARTS = Profile("list of byte strings", depth=1, items=4_096)
STREAM_ITEM = Profile("item of a stream", depth=1, items=4)  # so few that scanning one again with each chunk costs nothing
ANSWER = Profile("answer", depth=16, items=100_000, free=True)  # made by guests: floats may be wider than they need to be


def encode(value: Any) -> bytes:
    """Deterministic bytes of ints, bytes, text, bools, lists and maps with unsigned integer keys."""
    return cbor2.dumps(value, canonical=True)


def decode(data: bytes, profile: Profile, *, limit: int, limit_name: str) -> Any:
    """The value of exactly one item that fills ``data``, lists as tuples and maps as Mappings.

    Raises LimitError past ``limit`` bytes, MalformedError for all else that the profile does not allow.
    """
    scan(data, profile, limit=limit, limit_name=limit_name)
    return cbor2.loads(data, immutable=True)


def scan(data: bytes, profile: Profile, *, limit: int, limit_name: str) -> None:
    """Refuse all bytes that are not one item in deterministic encoding within the profile's budgets."""
    if len(data) > limit:
        raise LimitError(limit_name, limit, len(data))
    end = _Scanner(data, profile).item(0, 0)
    if end != len(data):
        raise MalformedError(f"{len(data) - end} bytes after the end of the CBOR {profile.name}")


def take_items(buffer: bytearray, *, limit: int, limit_name: str) -> Iterator[Any]:
    """Take the whole items from the front of a CBOR sequence (RFC 8742) that is still coming in; a cut-off last one stays.

    Raises LimitError when an item is longer than ``limit`` bytes, MalformedError for what is no list of a few byte strings.
    """
    while buffer:
        try:
            end = _Scanner(buffer, STREAM_ITEM).item(0, 0)
        except _CutOffError:
            if len(buffer) > limit:
                raise LimitError(limit_name, limit, len(buffer)) from None
            return
        data = bytes(memoryview(buffer)[:end])
        del buffer[:end]  # moves the start, not the bytes
        yield decode(data, STREAM_ITEM, limit=limit, limit_name=limit_name)


class _CutOffError(MalformedError):
    """The bytes end in the middle of an item."""


class _Scanner:
    __slots__ = ("data", "items", "profile")

    def __init__(self, data: bytes | bytearray, profile: Profile) -> None:
        self.data = data
        self.profile = profile
        self.items = 0

    def item(self, at: int, depth: int) -> int:
        """Check the item that starts at ``at``; the position after it."""
        self.items += 1
        if self.items > self.profile.items:
            raise MalformedError(f"CBOR {self.profile.name} of more than {self.profile.items} items")
        major, argument, after = self.head(at)
        if major == 0:
            return after
        if major == 1 and self.profile.free:
            return after
        if major in (2, 3):
            end = after + argument
            if end > len(self.data):
                raise _CutOffError(f"CBOR string of {argument} bytes at {at} runs past the end")
            if major == 3:
                try:
                    self.data[after:end].decode()
                except UnicodeDecodeError:
                    raise MalformedError(f"CBOR text at {at} is not UTF-8") from None
            return end
        if major in (4, 5):
            if depth == self.profile.depth:
                raise MalformedError(f"CBOR {self.profile.name} nested deeper than {self.profile.depth}")
            if argument > len(self.data) - after:  # each item takes a byte at least
                raise _CutOffError(f"CBOR list or map of {argument} items at {at} runs past the end")
            return self.members(after, argument, depth + 1) if major == 4 else self.pairs(after, argument, depth + 1)
        if major == 6 and depth == 0 and argument in self.profile.tags and at == 0:
            return self.item(after, depth)
        if major == 7:
            return self.simple(at, argument, after)
        raise MalformedError(f"CBOR item of major type {major} at {at} is not allowed in a {self.profile.name}")

    def members(self, at: int, count: int, depth: int) -> int:
        for _ in range(count):
            at = self.item(at, depth)
        return at

    def pairs(self, at: int, count: int, depth: int) -> int:
        before: bytes | bytearray = b""
        for _ in range(count):
            kind = self.data[at] >> 5 if at < len(self.data) else 0  # a missing key is told by item()
            if kind != 0 and not (self.profile.free and kind in (1, 3)):
                raise MalformedError(f"CBOR map key at {at} is not an unsigned integer")
            end = self.item(at, depth)
            key = self.data[at:end]
            if key <= before:
                raise MalformedError(f"CBOR map key at {at} is out of order or stands twice")
            before = key
            at = self.item(end, depth)
        return at

    def simple(self, at: int, argument: int, after: int) -> int:
        info = self.data[at] & 31
        if info in (20, 21) or (self.profile.free and info in (22, 25, 26, 27)):  # false, true; null, floats
            return after
        raise MalformedError(f"CBOR simple value {info} at {at} is not allowed in a {self.profile.name}")

    def head(self, at: int) -> tuple[int, int, int]:
        """Major type, argument and the position after the head, which must be the shortest one."""
        try:
            first = self.data[at]
        except IndexError:
            raise _CutOffError(f"CBOR ends at {at}, in the middle of an item") from None
        major, info = first >> 5, first & 31
        if info < 24:
            return major, info, at + 1
        if info > 27:
            raise MalformedError(f"CBOR item at {at} has an indefinite or reserved length")
        width = 1 << (info - 24)
        raw = self.data[at + 1 : at + 1 + width]
        if len(raw) < width:
            raise _CutOffError(f"CBOR ends at {at}, in the middle of an item")
        argument = int.from_bytes(raw, "big")
        if major != 7 and argument < (24, 1 << 8, 1 << 16, 1 << 32)[info - 24]:
            raise MalformedError(f"CBOR integer or length at {at} is not in its shortest form")
        return major, argument, at + 1 + width
