"""The laptop's folder: the fleet's keys that this person holds, its trust document, the nodes it enrolled and the modules it signed.

root.pem registrar.pem publisher.pem submitter.pem   keys, each made by ``create`` or brought here
trust.cbor                                           the fleet's trust document
nodes/NAME.cbor                                      documents of enrolled nodes
modules/NAME.wasm  modules/NAME.manifest             signed modules, ready to be submitted
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from edgenode.clock import Clock, SystemClock, seconds
from edgenode.errors import ConfigError, StorageError
from edgenode.files import read_document, write_document
from edgenode.formats.job import Label
from edgenode.formats.trust import Grant, Node, Role, Roots, Trust
from edgenode.records import digest
from edgenode.trust import identity, issue
from edgenode.trust.identity import Identity
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedTrust, verify_trust

YEAR = 365 * 24 * 3600  # s
OWN_ROLES = (Role.REGISTRAR, Role.PUBLISHER, Role.SUBMITTER)


def default_folder() -> Path:
    """$EDGENODE_HOME, or ~/.config/edgenode."""
    return Path(os.environ.get("EDGENODE_HOME") or Path.home() / ".config" / "edgenode")


class Home:
    def __init__(self, folder: Path | None = None, clock: Clock | None = None) -> None:
        self.folder = folder or default_folder()
        self.clock = clock or SystemClock()

    @classmethod
    def create(cls, folder: Path | None = None, clock: Clock | None = None) -> Home:
        """A new fleet: a root, registrar, publisher and submitter key, and the trust document that says so. Never overwrites one."""
        home = cls(folder, clock)
        if home.trust_path.exists():
            raise StorageError(f"{home.trust_path} is there already", hint="name another folder with --home")
        try:
            home.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"cannot make {home.folder}: {error.strerror}", hint="name another folder with --home") from error
        root = identity.create(home.key_path("root"))
        now = seconds(home.clock)
        grants = []
        for role in OWN_ROLES:
            public = identity.create(home.key_path(role.value)).public
            grants.append(Grant(role=role, public_key=public, name=role.value, expires=now + YEAR))
        trust = Trust(
            fleet=secrets.token_bytes(16),
            version=1,
            issued=now,
            expires=now + YEAR,
            roots=Roots(threshold=1, keys=(root.public,)),
            grants=tuple(grants),
        )
        write_document(home.trust_path, issue.issue_trust(trust, [root]))
        return home

    @property
    def trust_path(self) -> Path:
        return self.folder / "trust.cbor"

    def key_path(self, role: str) -> Path:
        return self.folder / f"{role}.pem"

    def identity(self, role: str) -> Identity:
        """A key that this person holds. Raises ConfigError when it is not here."""
        return identity.load(self.key_path(role))

    def trust_data(self) -> bytes:
        return read_document(self.trust_path, "'edgenode fleet init' makes a fleet, or copy its trust.cbor there")

    def trust(self) -> VerifiedTrust:
        return verify_trust(self.trust_data(), None, seconds(self.clock))

    def keyring(self) -> Keyring:
        return Keyring(self.trust().trust)

    def grant(self, role: Role, public_key: bytes, name: str) -> Trust:
        """Add a grant of a year, signed by the root as the trust document's next version."""
        current, root, now = self.trust().trust, self.identity("root"), seconds(self.clock)
        others = tuple(grant for grant in current.grants if (grant.role, grant.public_key) != (role, public_key))
        trust = Trust(
            fleet=current.fleet,
            version=current.version + 1,
            issued=now,
            expires=now + YEAR,
            roots=current.roots,
            grants=(*others, Grant(role=role, public_key=public_key, name=name, expires=now + YEAR)),
            revoked=current.revoked,
        )
        write_document(self.trust_path, issue.issue_trust(trust, [root]))
        return trust

    def enrol(self, public_key: bytes, name: str, labels: Mapping[str, str]) -> bytes:
        """Sign a node document of a year with the registrar's key; it is kept here, and goes into the node's state folder."""
        now = seconds(self.clock)
        node = Node(
            fleet=self.trust().trust.fleet,
            public_key=public_key,
            name=name,
            issued=now,
            expires=now + YEAR,
            labels=tuple(Label(name=label, value=value) for label, value in sorted(labels.items())),
        )
        data = issue.issue(node, self.identity(Role.REGISTRAR.value))
        folder = self._folder("nodes")
        write_document(folder / f"{name}.cbor", data)
        return data

    def put_module(self, name: str, wasm: bytes, manifest: bytes) -> Path:
        folder = self._folder("modules")
        write_document(folder / f"{name}.wasm", wasm)
        write_document(folder / f"{name}.manifest", manifest)
        return folder / f"{name}.wasm"

    def module(self, name: str) -> tuple[bytes, bytes]:
        """(wasm, signed manifest) of a module that was signed here. Raises ConfigError when it was not."""
        hint = f"'edgenode module sign {name}' signs it"
        folder = self.folder / "modules"
        return read_document(folder / f"{name}.wasm", hint), read_document(folder / f"{name}.manifest", hint)

    def manifest(self, name: bytes) -> bytes | None:
        """The signed manifest with this digest, if it was signed here."""
        for path in sorted((self.folder / "modules").glob("*.manifest")):
            data = read_document(path, "")
            if digest(data) == name:
                return data
        return None

    def _folder(self, name: str) -> Path:
        folder = self.folder / name
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"cannot make {folder}: {error.strerror}") from error
        return folder
