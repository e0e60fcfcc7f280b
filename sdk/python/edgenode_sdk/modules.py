"""Modules on the laptop: the built-in ones, manifest.toml -> Manifest, and signing."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import edgenode
from edgenode.clock import seconds
from edgenode.config import build
from edgenode.errors import ConfigError, MalformedError
from edgenode.formats import document
from edgenode.formats.manifest import Manifest
from edgenode.formats.trust import Role
from edgenode.records import Abi, Capabilities, Limits, digest
from edgenode.trust.issue import issue
from edgenode_sdk.home import Home

FILES = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestFile:
    """manifest.toml: what a publisher writes by hand; digest, size and time are added when it is signed."""

    name: str
    version: str
    sequence: int
    abi: str
    input: str
    output: str
    capabilities: Capabilities
    limits: Limits


def builtin_folder() -> Path:
    """Where the modules that come with edgenode are: in the installed package, or in the checkout beside it."""
    package = Path(edgenode.__file__).parent
    installed = package / "modules"
    return installed if installed.is_dir() else package.parent / "wasm-modules"


def find(place: str) -> Path:
    """The folder of a module: a path to it or to its .wasm, or the name of a built-in one. Raises ConfigError."""
    path = Path(place)
    for folder in (path if path.is_dir() else path.parent if path.suffix == ".wasm" else None, builtin_folder() / place):
        if folder is not None and (folder / "manifest.toml").is_file():
            return folder
    names = sorted(folder.parent.name for folder in builtin_folder().glob("*/manifest.toml"))
    raise ConfigError(f"no module at {place}", hint=f"a folder with manifest.toml and the .wasm, or one of {', '.join(names)}")


def load(folder: Path, issued: int) -> tuple[bytes, Manifest]:
    """The binary and the unsigned manifest in a module's folder. Raises ConfigError naming the file and the key."""
    path = folder / "manifest.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        described = build(ManifestFile, table, "")
        wasm = (folder / f"{described.name}.wasm").read_bytes()
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"cannot read the module in {folder}: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error.what}", hint=error.hint) from error
    return wasm, complete(described, wasm, issued)


def complete(described: ManifestFile, wasm: bytes, issued: int) -> Manifest:
    """The manifest of these bytes. Raises ConfigError when a value is out of its bounds."""
    try:
        abi = Abi(described.abi)
        manifest = Manifest(
            module=digest(wasm),
            size=len(wasm),
            name=described.name,
            version=described.version,
            sequence=described.sequence,
            abi=abi,
            input=described.input,
            output=described.output,
            capabilities=described.capabilities,
            limits=with_files(described.limits, abi),
            issued=issued,
        )
        document.encode(manifest)
    except (ValueError, MalformedError) as error:
        raise ConfigError(f"manifest of {described.name}: {error}") from error
    return manifest


def with_files(limits: Limits, abi: Abi) -> Limits:
    """The limits; a command's file system, where its publisher says nothing of it, has FILES bytes: without one it cannot start."""
    return replace(limits, files=FILES) if abi is Abi.WASI_COMMAND and limits.files == 0 else limits


def describe(manifest: Manifest) -> dict[str, Any]:
    """A manifest as JSON, digests in hex."""
    return document.to_json(manifest)


def sign(place: str, home: Home) -> tuple[str, Path, bytes]:
    """Sign the module in this folder, or the built-in one of this name, and keep it: its name, its file and the manifest's digest."""
    wasm, manifest = load(find(place), seconds(home.clock))
    signed = issue(manifest, home.identity(Role.PUBLISHER.value))
    return manifest.name, home.put_module(manifest.name, wasm, signed), digest(signed)
