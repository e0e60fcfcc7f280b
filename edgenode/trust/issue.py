"""Documents -> signed bytes: the other side of ``trust.verify``."""

from __future__ import annotations

from collections.abc import Sequence

from edgenode.formats import cose, document
from edgenode.formats.cose import DocumentType
from edgenode.formats.job import Job
from edgenode.formats.manifest import Manifest
from edgenode.formats.reading import Reading
from edgenode.formats.receipt import Ack, Receipt
from edgenode.formats.trust import Node, Trust
from edgenode.trust.identity import Identity

_TYPES: dict[type, DocumentType] = {
    Manifest: DocumentType.MANIFEST,
    Job: DocumentType.JOB,
    Receipt: DocumentType.RECEIPT,
    Ack: DocumentType.ACK,
    Node: DocumentType.NODE,
    Reading: DocumentType.READING,
}


def issue(body: Manifest | Job | Receipt | Ack | Node | Reading, by: Identity) -> bytes:
    """A COSE_Sign1 of this document by this key. Raises MalformedError when a field is out of its bounds."""
    return cose.sign1(_TYPES[type(body)], document.encode(body), by.public, by.sign)


def issue_trust(trust: Trust, roots: Sequence[Identity]) -> bytes:
    """A COSE_Sign of the trust document by each of these roots."""
    return cose.sign(DocumentType.TRUST, document.encode(trust), [(root.public, root.sign) for root in roots])
