"""Receipts in files: a CBOR array of the receipt and the document of the node that signed it, so that a file proves itself."""

from __future__ import annotations

from pathlib import Path

from edgenode.files import read_document, write_document
from edgenode.transport.node_api import ITEM_LIMIT, ReceiptItem, encode_item
from edgenode.transport.wire import decode_parts
from edgenode_sdk.result import Result


def save(result: Result, folder: Path) -> Path:
    """Write a receipt into ``folder``; its name says whose it is and where it stands in that node's chain. Raises StorageError."""
    receipt = result.receipt
    path = folder / f"{result.node.name}-{receipt.chain.hex()[:8]}-{receipt.seq}.receipt"
    write_document(path, encode_item(ReceiptItem(result.verified.data, result.node_document)))
    return path


def load(path: Path) -> ReceiptItem:
    """Read a file that ``save`` wrote; nothing is verified yet. Raises ConfigError, MalformedError or LimitError."""
    data = read_document(path, "'edgenode job results ID -o DIR' writes receipts", ITEM_LIMIT)
    receipt, node_document = decode_parts(data, least=2, most=2, limit=ITEM_LIMIT, limit_name="transport.item_bytes")
    return ReceiptItem(receipt, node_document)
