"""A fleet in memory: its keys, its trust document, nodes that sign receipts, and state folders for its hub."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from pathlib import Path

from edgenode.clock import SystemClock, seconds
from edgenode.config import UplinkConfig
from edgenode.formats import document
from edgenode.formats.receipt import NO_RECEIPT, Core, Measured, Receipt, ReceiptKind, TrustState
from edgenode.formats.trust import Grant, Node, Revoked, Role, Roots, Trust
from edgenode.records import Batch, ClockState, Completeness, Limits, Outcome, OutcomeKind, Pending, Window, digest
from edgenode.state import State
from edgenode.transport.client import Client
from edgenode.trust.identity import Identity
from edgenode.trust.issue import issue, issue_trust
from edgenode.trust.keyring import Keyring
from edgenode.trust.verify import VerifiedNode, VerifiedReceipt, reload_trust, verify_node, verify_receipt
from edgenode.uplink.http import HttpUplink

YEAR = 365 * 24 * 3600


def _identity() -> Identity:
    return Identity(secrets.token_bytes(32))


@dataclass
class Member:
    """A node of the fleet, and the one chain that it writes."""

    identity: Identity
    document: bytes
    chain: bytes = field(default_factory=lambda: secrets.token_bytes(16))

    def receipt(
        self, seq: int, *, job: bytes = bytes(16), step: int | None = None, summary: bytes = b"42", chain: bytes | None = None
    ) -> bytes:
        step = seq if step is None else step
        core = Core(
            job=job,
            generation=1,
            module=digest(b"module"),
            manifest=digest(b"manifest"),
            params=digest(b""),
            step=step,
            revision=0,
            window=Window(start_ns=step * 10**9, end_ns=(step + 1) * 10**9),
            seed=digest(b"seed"),
            limits=Limits(fuel=10**9, memory=1 << 24),
            snapshot=digest(b"snapshot"),
            completeness=Completeness(received=100, expected=100),
            state_before=digest(b""),
            state_after=digest(b""),
            summary=digest(summary),
            derived=digest(b""),
            alerts=digest(b""),
            outcome=Outcome(kind=OutcomeKind.OK),
            engine="wasmtime 50.0.0",
            config=digest(b"config"),
            fuel=123_456,
        )
        receipt = Receipt(
            kind=ReceiptKind.STEP,
            chain=chain or self.chain,
            seq=seq,
            prev=NO_RECEIPT,
            measured=Measured(finished_ns=seq * 10**9, clock=ClockState.SYNCHRONISED, trust=TrustState.VALID, wall_ns=10**6),
            core=document.encode(core),
            summary=summary,
        )
        return issue(receipt, self.identity)

    def receipts(self, count: int, *, job: bytes = bytes(16)) -> list[bytes]:
        return [self.receipt(seq, job=job) for seq in range(count)]

    def batch(self, receipts: list[bytes], first: int = 0) -> Batch:
        return Batch(self.chain, tuple(Pending(seq, digest(data), data) for seq, data in enumerate(receipts, first)))


class Fleet:
    """Root, registrar, submitter, hub and nodes, with keys made here."""

    def __init__(self) -> None:
        self.clock = SystemClock()
        self.now = seconds(self.clock)
        self.root, self.registrar, self.submitter, self.publisher, self.hub = (_identity() for _ in range(5))
        self.id = secrets.token_bytes(16)

    def trust(self, *, hub: bool = True, revoked: tuple[bytes, ...] = ()) -> bytes:
        grants = [
            (Role.REGISTRAR, self.registrar),
            (Role.SUBMITTER, self.submitter),
            (Role.PUBLISHER, self.publisher),
            *[(Role.HUB, self.hub)] * hub,
        ]
        trust = Trust(
            fleet=self.id,
            version=1,
            issued=self.now,
            expires=self.now + YEAR,
            roots=Roots(threshold=1, keys=(self.root.public,)),
            grants=tuple(Grant(role=role, public_key=one.public, name=role.value, expires=self.now + YEAR) for role, one in grants),
            revoked=Revoked(keys=revoked),
        )
        return issue_trust(trust, [self.root])

    def keyring(self) -> Keyring:
        return Keyring(reload_trust(self.trust()).trust)

    def node(self, name: str = "node-1", *, expires: int | None = None, registrar: Identity | None = None) -> Member:
        identity = _identity()
        node = Node(
            fleet=self.id, public_key=identity.public, name=name, issued=self.now, expires=self.now + YEAR if expires is None else expires
        )
        return Member(identity, issue(node, registrar or self.registrar))

    def verified(self, member: Member, receipts: list[bytes]) -> tuple[VerifiedNode, list[VerifiedReceipt]]:
        node = verify_node(member.document, self.keyring(), self.now)
        return node, [verify_receipt(data, node) for data in receipts]

    def write_hub(self, folder: Path, *, trust: bytes | None = None, port: int = 0) -> Path:
        """A hub's state folder. The key comes from the fleet, so that the trust document can name it."""
        state = State.create(folder)
        self.hub = state.identity()
        state.trust.write_bytes(trust or self.trust())
        write_config(folder, port)
        return folder

    def uplink(self, member: Member, port: int) -> HttpUplink:
        config = UplinkConfig(url=f"https://127.0.0.1:{port}", key=self.hub.public.hex())
        return HttpUplink(config, identity=member.identity, node_document=member.document, keyring=self.keyring, clock=self.clock)

    def client(self, identity: Identity, port: int, *, node_document: bytes = b"") -> Client:
        address = f"127.0.0.1:{port}"
        return Client(address, identity=identity, clock=self.clock, pin=self.hub.public, node_document=node_document)


def write_config(folder: Path, port: int) -> None:
    (folder / "hub.toml").write_text(f'name = "hub-1"\n[intake]\nhost = "127.0.0.1"\nport = {port}\n')
