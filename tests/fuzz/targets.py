"""What ``make fuzz`` runs with coverage as its guide, and ``make test`` for a moment: parsers of what a stranger may hand over.

A target takes any bytes, and may raise nothing but the errors that it names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgenode.errors import EdgenodeError, ModuleError
from edgenode.formats import table, wasm
from edgenode.sandbox import abi
from edgenode.sandbox.compile import compile_command, compile_step
from edgenode.testing import GUESTS
from edgenode.trust.verify import reload_manifest
from edgenode_sdk import modules

from ..unit.formats.examples import BY_NAME

LIMITS = abi.OutputLimits(summary=64, state=64, derived=1024, alerts=64)


def manifest(data: bytes) -> None:
    """Scanner, COSE, document and its bounds."""
    try:
        reload_manifest(data)
    except EdgenodeError:
        return


def module(data: bytes) -> None:
    """What the compiling child does with a binary that a publisher signed, for either ABI."""
    for compile_for in (compile_step, compile_command):
        try:
            compile_for(data)
        except ModuleError:
            continue


def outside(data: bytes) -> None:
    """The laptop's reader of imports and exports."""
    try:
        wasm.read(data)
    except ModuleError:
        return


def reply(data: bytes) -> None:
    """What a guest of the ``step`` ABI answers."""
    abi.decode_reply(data, LIMITS)


def derived(data: bytes) -> None:
    """What a command leaves in /out/derived.csv; what is taken must be series that the agent takes as well."""
    try:
        taken = table.parse(data, LIMITS.derived, abi.DERIVED_SERIES)
    except (table.TableError, table.TooLargeError):
        return
    abi.check_derived(taken)


TARGETS: Mapping[str, Callable[[bytes], None]] = {one.__name__: one for one in (manifest, module, outside, reply, derived)}

_GUESTS = [binary() for name, binary in GUESTS.items() if name != "noise"]
SEEDS: Mapping[str, list[bytes]] = {
    "manifest": [BY_NAME["manifest"].data],
    "module": _GUESTS,
    "outside": [*_GUESTS, modules.load(modules.find("statistics"), 0)[0]],
    "reply": [abi.section(abi.SUMMARY, b"hello"), abi.section(abi.STATE, b"next") + abi.section(abi.ALERT, b"hot")],
    "derived": [b"time,channel,value,unit\n1700000000.000000000,press/mean,21.5,Cel\n"],
}
"""Good bytes to begin with, by target."""
