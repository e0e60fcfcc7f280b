"""The fleet root's word on who may do what, and a registrar's word on who is a node."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from edgenode.formats.job import ID_BYTES, Label
from edgenode.records import DIGEST_BYTES, KEY_BYTES, PRINTABLE, key


class Role(StrEnum):
    REGISTRAR = "registrar"
    PUBLISHER = "publisher"
    SUBMITTER = "submitter"
    HUB = "hub"


@dataclass(frozen=True, slots=True, kw_only=True)
class Roots:
    threshold: int = key(1, low=1, high=64)
    keys: tuple[bytes, ...] = key(2, size=KEY_BYTES, longest=64)

    def __post_init__(self) -> None:
        if len(set(self.keys)) != len(self.keys) or self.threshold > len(self.keys):
            raise ValueError("root keys are distinct, and at least as many as the threshold")


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    role: Role = key(1)
    public_key: bytes = key(2, size=KEY_BYTES)
    name: str = key(3, longest=64, pattern=PRINTABLE)  # for people
    expires: int = key(4)  # s


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoked:
    keys: tuple[bytes, ...] = key(1, size=KEY_BYTES, longest=10_000, default=())  # any role, nodes included
    modules: tuple[bytes, ...] = key(2, size=DIGEST_BYTES, longest=10_000, default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    fleet: bytes = key(1, size=ID_BYTES)  # random; names the fleet in jobs and node documents
    version: int = key(2, low=1)
    issued: int = key(3)  # s
    expires: int = key(4)  # s
    roots: Roots = key(5)
    grants: tuple[Grant, ...] = key(6, longest=4096)
    revoked: Revoked = key(7, default=Revoked())

    def __post_init__(self) -> None:
        if len({(grant.public_key, grant.role) for grant in self.grants}) != len(self.grants):
            raise ValueError("a key is granted a role once: two grants could differ in what they allow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    fleet: bytes = key(1, size=ID_BYTES)
    public_key: bytes = key(2, size=KEY_BYTES)
    name: str = key(3, longest=63, pattern=PRINTABLE)
    issued: int = key(4)  # s
    expires: int = key(5)  # s
    labels: tuple[Label, ...] = key(6, longest=32, default=())
