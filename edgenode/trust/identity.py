"""This machine's own key: made on the device, never leaving it.

The file is PKCS #8 PEM (RFC 8410 §7), so that OpenSSL reads it too.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import stat
from pathlib import Path

import nacl.signing

from edgenode.errors import ConfigError, StorageError
from edgenode.files import sync_folder

_PKCS8 = bytes.fromhex("302e020100300506032b657004220420")  # PrivateKeyInfo of an Ed25519 seed, up to the seed
_PEM = re.compile(r"-----BEGIN PRIVATE KEY-----\n([A-Za-z0-9+/=\n]+)-----END PRIVATE KEY-----\n?")
SEED_BYTES = 32


class Identity:
    """An Ed25519 key pair (RFC 8032). ``public`` is 32 bytes, ``sign`` gives 64."""

    __slots__ = ("_key", "public")

    def __init__(self, seed: bytes) -> None:
        self._key = nacl.signing.SigningKey(seed)
        self.public = bytes(self._key.verify_key)

    def sign(self, data: bytes) -> bytes:
        return self._key.sign(data).signature

    def derive(self, purpose: str) -> bytes:
        """A 32-byte secret of this machine for one purpose, such as a MAC key: keyed BLAKE2b (RFC 7693)."""
        return hashlib.blake2b(purpose.encode(), key=bytes(self._key), digest_size=32).digest()

    def __repr__(self) -> str:
        return f"Identity({self.public.hex()})"


def create(path: Path) -> Identity:
    """Make a new key and write it to ``path``, mode 0600. Raises StorageError; never overwrites."""
    seed = os.urandom(SEED_BYTES)
    body = base64.encodebytes(_PKCS8 + seed).decode()
    whole = path.with_name(path.name + ".new")
    try:
        whole.unlink(missing_ok=True)
        descriptor = os.open(whole, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(f"-----BEGIN PRIVATE KEY-----\n{body}-----END PRIVATE KEY-----\n")
            file.flush()
            os.fsync(file.fileno())
        # A link, since it fails where a rename overwrites: the key has its name only when it is whole, and never takes another's place.
        try:
            os.link(whole, path)
        finally:
            whole.unlink()
        sync_folder(path.parent)
    except FileExistsError as error:
        raise StorageError(f"{path} is there already", hint="a key is never overwritten: name another file") from error
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
    return Identity(seed)


def load(path: Path) -> Identity:
    """Read a key. Raises ConfigError when it is missing, damaged or readable by others."""
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the key {path}: {error}", hint="'edgenode key new' makes one") from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(f"the key {path} can be read by others (mode {stat.S_IMODE(mode):o})", hint=f"chmod 600 {path}")
    found = _PEM.fullmatch(text)
    try:
        der = base64.b64decode(found[1]) if found else b""
    except ValueError:
        der = b""
    if len(der) != len(_PKCS8) + SEED_BYTES or not der.startswith(_PKCS8):
        raise ConfigError(f"{path} is not an Ed25519 private key", hint="PKCS #8 PEM, as 'edgenode key new' writes it")
    return Identity(der[len(_PKCS8) :])
