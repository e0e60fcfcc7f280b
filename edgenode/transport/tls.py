"""TLS 1.3 with the server's own self-signed certificate, believed for its public key alone.

A certificate here carries a key, and no name or date that anybody checks: the client compares the key (SubjectPublicKeyInfo, RFC 5280
§4.1.2.7) with the one it expects, and the handshake proves that the server holds it.
"""

from __future__ import annotations

import asyncio
import datetime
import ssl
from pathlib import Path

import aiohttp
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edgenode.errors import ConfigError

_NO_END = datetime.datetime(9999, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)  # RFC 5280 §4.1.2.5: no well-defined expiry
_NO_START = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)  # a device may boot without a clock


class ServerContext(ssl.SSLContext):
    """A server's TLS settings, and the public key that it proves in each handshake."""

    public_key: bytes


def server_context(key: Path, certificate: Path) -> ServerContext:
    """The context of a server with this key (PKCS #8 PEM); its certificate is made beside it when it is missing."""
    context = ServerContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0  # sessions are not resumed: a connection stays open, and a new one proves the key again
    try:
        if not certificate.exists():
            _write_certificate(key, certificate)
        context.load_cert_chain(certificate, key)
        context.public_key = _public_key(ssl.PEM_cert_to_DER_cert(certificate.read_text(encoding="ascii")))
    except (OSError, ValueError) as error:
        what = f"cannot use {key} and {certificate} for TLS: {error}"
        raise ConfigError(what, hint="delete the certificate: it is made again") from error
    if not context.public_key:
        raise ConfigError(f"{certificate} carries no Ed25519 key", hint="delete the certificate: it is made again")
    return context


def client_context() -> ssl.SSLContext:
    """The context of a client. It verifies no chain and no name: PinnedKey compares the key instead."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class PinnedKey(aiohttp.Fingerprint):
    """Refuses a connection whose certificate carries another key than ``expected`` (32 bytes).

    None takes the first connection's key, for a caller that has a document to compare it with, and holds all later ones to it: else the
    server that was judged and the one that gets the next request could be two. ``seen`` is the key of the last connection.
    """

    def __init__(self, expected: bytes | None) -> None:
        super().__init__(expected or bytes(32))
        self.expected = expected
        self.seen: bytes | None = None

    def check(self, transport: asyncio.Transport) -> None:
        ssl_object = transport.get_extra_info("ssl_object")
        self.seen = _public_key(ssl_object.getpeercert(binary_form=True) or b"") if ssl_object else b""
        if self.expected is None and self.seen:
            self.expected = self.seen
        if self.seen != self.expected:
            host, port, *_ = transport.get_extra_info("peername") or ("", 0)
            raise aiohttp.ServerFingerprintMismatch(self.expected or b"", self.seen, host, port)


def _public_key(certificate: bytes) -> bytes:
    """The Ed25519 key of a DER certificate; empty when it carries another kind of key."""
    try:
        key = x509.load_der_x509_certificate(certificate).public_key()
    except (ValueError, x509.InvalidVersion, UnsupportedAlgorithm):
        return b""
    return key.public_bytes_raw() if isinstance(key, Ed25519PublicKey) else b""


def _write_certificate(key: Path, certificate: Path) -> None:
    private = serialization.load_pem_private_key(key.read_bytes(), None)
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"{key} is not an Ed25519 private key", hint="'edgenode key new' makes one")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edgenode")])
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(1)
        .not_valid_before(_NO_START)
        .not_valid_after(_NO_END)
        .sign(private, None)
    )
    whole = certificate.with_suffix(".new")
    whole.write_bytes(built.public_bytes(serialization.Encoding.PEM))
    whole.replace(certificate)
