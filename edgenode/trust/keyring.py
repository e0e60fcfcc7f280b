"""Who may do what, as a verified trust document says it. Pure: bytes and a time in, an answer or an error out."""

from __future__ import annotations

from edgenode.errors import ExpiredError, RevokedError, RoleError, UnknownKeyError
from edgenode.formats.receipt import TrustState
from edgenode.formats.trust import Grant, Role, Trust


class Keyring:
    """Look-ups in one trust document. Default deny: a key that nobody granted a role holds none."""

    __slots__ = ("_grants", "_revoked_keys", "_revoked_modules", "trust")

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self._grants = {(grant.public_key, grant.role): grant for grant in trust.grants}
        self._revoked_keys = frozenset(trust.revoked.keys)
        self._revoked_modules = frozenset(trust.revoked.modules)

    @property
    def fleet(self) -> bytes:
        return self.trust.fleet

    def state(self, now: int) -> TrustState:
        return TrustState.EXPIRED if now >= self.trust.expires else TrustState.VALID

    def check_fresh(self, now: int) -> None:
        """Raise ExpiredError when the trust document is past its time: then nothing new is admitted."""
        if self.state(now) is TrustState.EXPIRED:
            raise ExpiredError(f"the trust document, version {self.trust.version}, has expired", hint="publish a newer trust document")

    def check(self, public_key: bytes, role: Role, now: int) -> Grant:
        """The grant of ``role`` to this key. Raises RevokedError, UnknownKeyError, RoleError or ExpiredError."""
        self.check_not_revoked(public_key)
        grant = self._grants.get((public_key, role))
        if grant is None:
            held = [one.role.value for one in self.trust.grants if one.public_key == public_key]
            if held:
                raise RoleError(f"key {short(public_key)} is {', '.join(held)}, not {role}")
            raise UnknownKeyError(f"key {short(public_key)} has no role in this fleet")
        if now >= grant.expires:
            raise ExpiredError(f"the {role} grant of key {short(public_key)} ({grant.name}) has expired")
        return grant

    def roles(self, public_key: bytes, now: int) -> frozenset[Role]:
        """The roles that this key holds now; none when it is revoked."""
        if public_key in self._revoked_keys:
            return frozenset()
        return frozenset(role for role in Role if (grant := self._grants.get((public_key, role))) and now < grant.expires)

    def check_not_revoked(self, public_key: bytes) -> None:
        if public_key in self._revoked_keys:
            raise RevokedError(f"key {short(public_key)} is revoked")

    def check_module(self, module: bytes) -> None:
        if module in self._revoked_modules:
            raise RevokedError(f"module {short(module)} is revoked")


def short(name: bytes) -> str:
    """The first 12 hex digits of a key or digest, for messages."""
    return name.hex()[:12]
