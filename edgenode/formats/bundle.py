"""One receipt with all that its replay needs, in one file: application/vnd.edgenode.bundle+cbor (docs/protocol.md, "Replay and bundles").

A bundle is signed by nobody: each part is a signed document, or bytes whose digest the receipt's core names.
"""

from __future__ import annotations

from dataclasses import dataclass

from edgenode.formats.cose import DocumentType
from edgenode.records import key

BLOB_BYTES = 32 << 20  # of a module or snapshot: as much as one answer of a node may have
LIMIT = 96 << 20  # bytes of a bundle: each part at its longest, and room for what a later version adds
LIMIT_NAME = "formats.bundle_bytes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    receipt: bytes = key(1, longest=DocumentType.RECEIPT.limit)  # of kind step
    node: bytes = key(2, longest=DocumentType.NODE.limit)  # document of the node that signed the receipt
    trust: bytes = key(3, longest=DocumentType.TRUST.limit)
    job: bytes = key(4, longest=DocumentType.JOB.limit)
    manifest: bytes = key(5, longest=DocumentType.MANIFEST.limit)
    module: bytes = key(6, longest=BLOB_BYTES)
    snapshot: bytes = key(7, longest=BLOB_BYTES, default=b"")
    state: bytes = key(8, longest=1 << 24, default=b"")  # before the step
