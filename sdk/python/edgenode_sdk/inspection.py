"""What can be said of a module on the laptop: its binary, its manifest, who signed that, and whether the fleet trusts it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgenode.clock import seconds
from edgenode.errors import ConfigError, EdgenodeError
from edgenode.files import read_document
from edgenode.formats import wasm
from edgenode.records import digest
from edgenode.trust.verify import reload_manifest, verify_manifest, verify_module
from edgenode_sdk import modules
from edgenode_sdk.home import Home


def inspect(place: str, home: Home) -> dict[str, Any]:
    """A .wasm, a signed .manifest, or the name of a module that was signed here or comes with edgenode. Raises ConfigError, ModuleError."""
    binary, signed = _find(place, home)
    told: dict[str, Any] = {}
    if binary is not None:
        outside = wasm.read(binary)
        told |= {
            "module": digest(binary).hex(),
            "size": len(binary),
            "imports": list(outside.imports),
            "exports": list(outside.exports),
            "memory": [{"first": first, "most": most} for first, most in outside.memories],
        }
    if signed is not None:
        told["manifest"] = {"digest": digest(signed).hex(), **modules.describe(reload_manifest(signed).manifest)}
        told["signed_by"] = reload_manifest(signed).publisher.hex()
    return told | _trust(binary, signed, home)


def _trust(binary: bytes | None, signed: bytes | None, home: Home) -> dict[str, Any]:
    """Whether this fleet's nodes would take it, and why not."""
    if signed is None:
        return {"trusted": False, "reason": "unsigned"}
    try:
        manifest = verify_manifest(signed, home.keyring(), seconds(home.clock))
        if binary is not None:
            verify_module(binary, manifest)
    except EdgenodeError as error:
        return {"trusted": False, "reason": error.what}
    return {"trusted": True, "reason": ""}


def _find(place: str, home: Home) -> tuple[bytes | None, bytes | None]:
    """(binary, signed manifest) of what is meant; None for a half that is not there."""
    path = Path(place)
    if path.suffix == ".manifest":
        return _read(path.with_suffix(".wasm")), read_document(path, "a file that 'edgenode module sign' wrote")
    if path.suffix == ".wasm":
        return read_document(path, "a WebAssembly binary"), _read(path.with_suffix(".manifest"))
    try:
        return home.module(place)
    except ConfigError:
        folder = modules.find(place)
        return read_document(folder / f"{folder.name}.wasm", "build it"), None


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None
