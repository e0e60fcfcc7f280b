"""Renews what is made from the code in docs/protocol.md, and tests/vectors/documents.json.

    python -m tests.unit.formats.protocol_doc

Between ``<!-- made: NAME -->`` and ``<!-- end -->`` the document holds what ``parts()[NAME]`` gives.
"""

from __future__ import annotations

import dataclasses
import json
import re
import types
from enum import StrEnum
from pathlib import Path
from typing import Any, Union, get_args, get_origin, get_type_hints

from edgenode.errors import BY_CODE
from edgenode.formats import cose, document, httpsig
from edgenode.formats.bundle import Bundle
from edgenode.formats.cose import DocumentType
from edgenode.formats.job import Inputs, Job, Label, ModuleReference, Selector, Wanted, WindowSpec
from edgenode.formats.manifest import Manifest
from edgenode.formats.reading import Reading
from edgenode.formats.receipt import Ack, Core, Measured, Notice, Receipt, Rejected, Stored
from edgenode.formats.trust import Grant, Node, Revoked, Roots, Trust
from edgenode.records import MAX_INT, Capabilities, Completeness, Limits, Outcome, Window
from edgenode.transport import problem
from edgenode.transport.wire import JOBS, encode_parts

from .examples import CORE, EXAMPLES, HUB, JOB_DATA, MANIFEST_DATA, NOW, SEEDS, SUBMITTER

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "protocol.md"
VECTORS = ROOT / "tests" / "vectors" / "documents.json"

MARKED = re.compile(r"(<!-- made: (?P<name>[\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)

MEANINGS: dict[type, dict[str, str]] = {
    Manifest: {
        "module": "SHA-256 of the WebAssembly binary",
        "size": "of the binary",
        "name": "what jobs call the module by",
        "version": "for people",
        "sequence": "for machines: of two manifests with one name the higher is meant",
        "abi": "how the host calls the module (docs/step-abi.md)",
        "input": "media type in which samples are handed over",
        "output": "media type of summary and alerts",
        "capabilities": "what the module may read and say",
        "limits": "the most that a step may use",
        "issued": "when it was signed",
    },
    Capabilities: {
        "channels": "patterns of the channels that it may read; `*` stands for any run of characters",
        "summary": "longest summary",
        "derived": "longest derived series, all together",
        "alerts": "longest alerts, all together",
        "share_snapshot": "whether the raw snapshot may be kept and handed out for replay",
        "derives": "patterns of the channels that it may write back; any other name breaks the reply",
    },
    Limits: {
        "fuel": "fuel of a step",
        "memory": "linear memory",
        "files": "the guest's file system, for `wasi-command`",
        "state": "longest state",
        "wall_ms": "time after which the worker is replaced: a fault of the node, never an outcome",
    },
    Job: {
        "fleet": "the fleet that the job is for",
        "id": "random; the job's name wherever it goes",
        "generation": "a higher one takes the place of a lower one",
        "desired": "`stop` in a higher generation ends the job",
        "type": "how many nodes, and for how long",
        "module": "which module",
        "selector": "which nodes",
        "inputs": "which data",
        "window": "which span of time, and how it is cut",
        "issued": "when it was signed; told, not judged",
        "start_by": "a node that meets the job later refuses it",
        "name": "for people",
        "count": "how many nodes a `batch` or `service` wants",
        "params": "handed to the guest as they are",
        "limits": "set below the manifest's",
        "priority": "higher goes first",
        "until": "no step starts after it",
        "max_failures": "guest failures in a row that stop the job",
    },
    ModuleReference: {"name": "of the module", "manifest": "digest of the signed manifest that is meant, and no other"},
    Selector: {"nodes": "keys: the node is one of them, if there are any", "labels": "the node has all of them"},
    Label: {"name": "of the label", "value": "exactly this"},
    Inputs: {"channels": "patterns of the channels that the step gets"},
    WindowSpec: {
        "kind": "`span` is one window, `tumbling` windows lie side by side and are aligned to 1970",
        "start_ns": "of the span, with `end_ns`",
        "end_ns": "of the span, not part of it",
        "last_ns": "instead of both: the time up to when the node accepted the job",
        "size_ns": "of one window, if `tumbling` and only then",
    },
    Wanted: {
        "fuel": "as in the manifest's limits",
        "memory": "as in the manifest's limits",
        "files": "as in the manifest's limits",
        "state": "as in the manifest's limits",
        "wall_ms": "as in the manifest's limits",
    },
    Receipt: {
        "kind": "what is told",
        "chain": "random; names a chain of receipts of this node",
        "seq": "place in the chain, from 0 and without gaps",
        "prev": "SHA-256 of the signed receipt before, and 32 zero bytes for the first",
        "measured": "how it was here",
        "core": "an encoded core, in a `step` and only there",
        "summary": "what the guest answered",
        "alerts": "what the guest wants told",
        "notice": "in every kind but `step`",
    },
    Core: {
        "job": "id of the job",
        "generation": "of the job",
        "module": "SHA-256 of the WebAssembly binary",
        "manifest": "SHA-256 of the signed manifest",
        "params": "SHA-256 of the job's params",
        "step": "index of the step in the job, from 0",
        "revision": "0, and one more each time late data made the window run again",
        "window": "the slice of time",
        "seed": "SHA-256 of `edgenode/seed/1`, job, and little-endian generation (u64), step (u64), revision (u32)",
        "limits": "in force for this step",
        "snapshot": "SHA-256 of the frame that the guest read",
        "completeness": "how much of the data was there",
        "state_before": "SHA-256 of the state that went in",
        "state_after": "SHA-256 of the next state; on any outcome but `ok` the same as before",
        "summary": "SHA-256 of the summary",
        "derived": "SHA-256 of the derived series sections, one after the other",
        "alerts": "SHA-256 of the alerts",
        "outcome": "what the step ended in",
        "engine": "name and version",
        "config": "SHA-256 of the engine's configuration",
        "fuel": "used; left out where it is not exact",
    },
    Measured: {
        "finished_ns": "by the node's clock",
        "clock": "how far that clock can be believed",
        "trust": "`expired` when the node's trust document was past its time",
        "wall_ns": "the step's duration in the worker",
        "load": "1-minute load average x 1000",
        "library": "SHA-256 of the engine's shared library, which differs by CPU",
    },
    Notice: {
        "code": "for machines",
        "text": "for people",
        "job": "id, if it is about a job",
        "generation": "of the job",
        "step": "the next step that the job would have run",
        "first_seq": "of a gap",
        "last_seq": "of a gap",
    },
    Window: {"start_ns": "first moment", "end_ns": "first moment after; not before the start"},
    Completeness: {
        "received": "samples in the snapshot",
        "expected": "left out where a channel's rate is not known",
        "late": "came too late for the window",
        "dropped": "lost to a limit or a bad reading",
    },
    Outcome: {
        "kind": "see below",
        "detail": "the trap's class, the part that was too large, or what is wrong with the reply",
        "exit_code": "of an `exit`",
        "location": "of a `trap`: the index of its function in the module, decimal",
    },
    Ack: {
        "node": "whose receipts they are",
        "chain": "in which they stand",
        "issued": "when it was signed",
        "stored": "what the hub holds durably",
        "rejected": "what the hub will never store",
    },
    Stored: {"seq": "of the receipt", "digest": "SHA-256 of the signed receipt"},
    Rejected: {
        "seq": "that the receipt claims, 0 when it cannot be read",
        "digest": "SHA-256 of the bytes that were sent",
        "code": "an error code",
    },
    Node: {
        "fleet": "the fleet that it belongs to",
        "public_key": "the node's",
        "name": "for people, and in the mDNS record",
        "issued": "when it was signed",
        "expires": "from when it is worth nothing",
        "labels": "that selectors look for",
    },
    Reading: {
        "node": "whose it is, and who signs it",
        "issued": "when it was measured, by the node's clock",
        "engine": "name and version",
        "config": "SHA-256 of the engine's configuration for the `step` ABI",
        "mode": "`native` or `pulley`: how the workers run code",
        "fuel_per_second": "of one worker, over the calibration guest",
        "workers": "that run steps side by side",
        "memory": "of the machine",
        "cpus": "of the machine, logical ones",
        "architecture": "of the machine, as the kernel names it",
    },
    Trust: {
        "fleet": "random; the fleet's name in all other documents",
        "version": "never goes down",
        "issued": "when it was signed",
        "expires": "from when nothing new is admitted",
        "roots": "who signs the next one",
        "grants": "who may do what; a key holds a role once",
        "revoked": "what is worth nothing any more",
    },
    Roots: {"threshold": "how many of the keys must sign", "keys": "distinct, and at least as many as the threshold"},
    Grant: {"role": "what the key may do", "public_key": "who", "name": "for people", "expires": "from when the grant is worth nothing"},
    Revoked: {"keys": "in any role, nodes included", "modules": "SHA-256 of WebAssembly binaries"},
    Bundle: {
        "receipt": "the signed receipt, of kind `step`",
        "node": "the document of the node that signed it",
        "trust": "a trust document of the fleet",
        "job": "the signed job",
        "manifest": "the signed manifest",
        "module": "the WebAssembly binary",
        "snapshot": "the frame that the guest read",
        "state": "the state before the step",
    },
}


def parts() -> dict[str, str]:
    """What stands between the marks of docs/protocol.md, by name."""
    found = {f"fields of {kind.__name__}": fields(kind) for kind in MEANINGS}
    found |= {f"example {example.name}": example_block(example) for example in EXAMPLES}
    found["example core"] = f"```text\n{wrapped(document.encode(CORE))}\n```\n"
    found |= {"documents": documents(), "keys": keys(), "errors": errors(), "request": request(), "problem": problem_example()}
    return found


def fields(kind: type) -> str:
    hints = get_type_hints(kind)
    rows = ["| key | name | type | bounds | meaning |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        shape, bounds = _shape(hints[field.name], field.metadata)
        if field.default is not dataclasses.MISSING:
            bounds = f"{bounds}; {_default(field.default)}" if bounds else _default(field.default)
        rows.append(f"| {field.metadata['key']} | `{field.name}` | {shape} | {bounds} | {MEANINGS[kind][field.name]} |")
    return "\n".join(rows) + "\n"


def _shape(hint: Any, bounds: Any) -> tuple[str, str]:
    origin, args = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return _shape(args[0], bounds)
    if origin is tuple:
        shape, inner = _shape(args[0], {**bounds, "longest": 256})
        return f"list of {shape}", f"at most {bounds['longest']}" + (f", each {inner}" if inner else "")
    if dataclasses.is_dataclass(hint):
        return f"map, [{hint.__name__}](#{hint.__name__.lower()})", ""  # type: ignore[union-attr]
    if issubclass(hint, StrEnum):
        return "text", " ".join(f"`{one.value}`" for one in hint)
    if hint is bool:
        return "bool", ""
    if hint is int:
        return "uint", f"{bounds['low']} to {'2^63-1' if bounds['high'] == MAX_INT else bounds['high']}"
    name = "bytes" if hint is bytes else "text"
    if bounds["size"] is not None:
        return name, f"{bounds['size']} bytes"
    if bounds["pattern"] is not None:
        return name, f"`{bounds['pattern']}`"
    return name, f"at most {bounds['longest']} bytes"


def _default(value: Any) -> str:
    if value is None or dataclasses.is_dataclass(value):
        return "optional"
    if value in (b"", "", ()):
        return "optional, else empty"
    return f"optional, else {str(value).lower()}"


def documents() -> str:
    rows = ["| document | typ | external_aad | tag | at most |", "|---|---|---|---|---|"]
    for kind in DocumentType:
        rows.append(f"| {kind} | `{kind.media_type}` | `{kind.aad.decode()}` | {kind.tag} | {kind.limit} bytes |")
    return "\n".join(rows) + "\n"


def keys() -> str:
    rows = ["| signer | seed | public key |", "|---|---|---|"]
    named = {"manifest": "publisher", "job": "submitter", "receipt of a step": "node", "ack": "hub", "node": "registrar"}
    for example in EXAMPLES:
        for number, signer in enumerate(example.signers):
            if example.name in named or example.name == "trust":
                name = named.get(example.name, f"root {number + 1}")
                rows.append(f"| {name} | 32 times `{SEEDS[signer.public]:02x}` | `{signer.public.hex()}` |")
    return "\n".join(rows) + "\n"


def wrapped(data: bytes) -> str:
    text = data.hex()
    return "\n".join(text[at : at + 120] for at in range(0, len(text), 120))


def example_block(example: Any) -> str:
    signed = cose.parse(example.data, example.type)
    lines = [
        f"payload, {len(signed.payload)} bytes",
        wrapped(signed.payload),
        "",
        f"document, {len(example.data)} bytes",
        wrapped(example.data),
    ]
    return "```text\n" + "\n".join(lines) + "\n```\n"


def errors() -> str:
    rows = ["| code | HTTP status | sent again by itself it may succeed | hint |", "|---|---|---|---|"]
    for code, kind in BY_CODE.items():
        rows.append(f"| `{code}` | {kind.status} | {'yes' if kind.retry else 'no'} | {kind.default_hint or 'of the case'} |")
    return "\n".join(rows) + "\n"


def request() -> str:
    body = encode_parts([JOB_DATA, MANIFEST_DATA])
    headers = httpsig.sign(
        "POST",
        JOBS,
        httpsig.content_digest(body),
        boot=httpsig.boot_value(HUB.public, "AAAAAAAAAAAAAAAAAAAAAA"),
        nonce="BBBBBBBBBBBBBBBBBBBBBB",
        created=NOW,
        expires=NOW + 60,
        keyid=SUBMITTER.public,
        signer=SUBMITTER.sign,
    )
    claim = httpsig.parse("POST", JOBS, headers)
    shown = [f"POST {JOBS} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), f"Content-Length: {len(body)}"]
    return "```text\n" + "\n".join(shown) + "\n```\n\nThe signature base is\n\n```text\n" + claim.signed.decode() + "\n```\n"


def problem_example() -> str:
    told = json.loads(problem.to_problem(BY_CODE["queue-full"]("1000 jobs are open, the most that intake.queue_jobs allows")))
    return f"```json\n{json.dumps(told, indent=2)}\n```\n"


def vectors() -> str:
    """Every example document with its keys and what each of them signed, for other implementations."""
    told = []
    for example in EXAMPLES:
        signed = cose.parse(example.data, example.type)
        told.append(
            {
                "name": example.name,
                "type": example.type.value,
                "payload": signed.payload.hex(),
                "signers": [
                    {
                        "seed": (bytes([SEEDS[one.kid]]) * 32).hex(),
                        "public_key": one.kid.hex(),
                        "sig_structure": one.signed.hex(),
                        "signature": one.signature.hex(),
                    }
                    for one in signed.signatures
                ],
                "document": example.data.hex(),
            }
        )
    about = "Made by tests/unit/formats/protocol_doc.py from tests/unit/formats/examples.py. The seeds are secret to nobody."
    return json.dumps({"about": about, "documents": told}, indent=1) + "\n"


def renewed(text: str) -> str:
    """docs/protocol.md with what is made in it made again. Raises KeyError for a mark of no known name."""
    made = parts()
    return MARKED.sub(lambda found: f"{found[1]}\n{made[found['name']]}\n{found[3]}", text)


if __name__ == "__main__":
    VECTORS.write_text(vectors(), encoding="utf-8")
    if DOCUMENT.exists():
        DOCUMENT.write_text(renewed(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
