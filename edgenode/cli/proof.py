"""What a file proves: receipts and bundles, judged by a trust document."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from edgenode.cli.options import PATH
from edgenode.cli.output import time_text
from edgenode.clock import SystemClock, seconds
from edgenode.files import read_document
from edgenode.formats.receipt import TrustState
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedTrust, reload_trust, verify_signed_receipt
from edgenode_sdk import bundle, saved
from edgenode_sdk.home import Home
from edgenode_sdk.replay import Materials
from edgenode_sdk.result import Result

trust_option = click.option("--trust", type=PATH, help="A trust document, instead of the one in the laptop's folder.")


@dataclass(frozen=True, slots=True)
class Judge:
    """The reader's trust document, or None where there is none: then only a bundle can be read, at its own word."""

    home: Home
    trust: VerifiedTrust | None

    @classmethod
    def of(cls, trust: Path | None, home: Home) -> Judge:
        """By the file that was given, else by the laptop's own. It may have expired: what it says of the time before still holds."""
        if trust is None and not home.trust_path.exists():
            return cls(home, None)
        verified = reload_trust(home.trust_data() if trust is None else read_document(trust, "a trust.cbor"))
        document = verified.trust
        if Keyring(document).state(seconds(home.clock)) is TrustState.EXPIRED:
            click.echo(
                f"warning: the trust document, version {document.version}, expired {time_text(document.expires * 10**9)}: "
                "it cannot tell what was revoked since",
                err=True,
            )
        return cls(home, verified)

    @property
    def keyring(self) -> Keyring | None:
        return None if self.trust is None else Keyring(self.trust.trust)

    def trust_data(self) -> bytes:
        """The trust document as bytes. Raises ConfigError where there is none."""
        return self.home.trust_data() if self.trust is None else self.trust.data


@dataclass(frozen=True, slots=True)
class Proof:
    """A verified receipt; of a bundle also what the step was a function of, and ``roots`` where the fleet's root is its own word."""

    result: Result
    materials: Materials | None = None
    roots: tuple[bytes, ...] = ()


def prove(file: Path, judge: Judge) -> Proof:
    """Read and verify a receipt or a bundle. Raises ConfigError, MalformedError, LimitError or TrustError."""
    keyring = judge.keyring
    if bundle.is_bundle(file):
        opened = bundle.read(file, keyring)
        return Proof(opened.result, opened.materials, opened.keyring.trust.roots.keys if keyring is None else ())
    item = saved.load(file)
    if keyring is None:
        keyring = judge.home.keyring()  # which says what is missing
    return Proof(Result(verify_signed_receipt(item.receipt, item.node_document, keyring), item.node_document, SystemClock().now_ns()))


def warn(file: Path, proof: Proof) -> None:
    """Say so when nobody but the bundle vouches for the fleet's root."""
    if proof.roots:
        keys = " and ".join(root.hex() for root in proof.roots)
        click.echo(
            f"warning: {file}: there is no trust document here, and that the fleet's root is key {keys} is the bundle's own word; "
            "compare the key with the fleet's owner, or give the fleet's document with --trust FILE",
            err=True,
        )
