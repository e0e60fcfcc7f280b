"""Golden cases: wasm-modules/<module>/golden/<case>.json. Renew what is expected with ``python -m tests.unit.wasm_modules.golden``.

A case is an input and the reply to it, decoded, with the SHA-256 of the reply's exact bytes. Times are milliseconds after
``start_ns``; floats that JSON has no word for are the strings "nan", "inf" and "-inf". Renewing cannot hide a fault:
the tests compare every expected summary with a second computation (reference.py).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .guest import MODULES, Reply, Series, committed, decode_cbor, request, run


@dataclass(frozen=True)
class Case:
    path: Path
    content: dict[str, Any]

    @property
    def module(self) -> str:
        return self.path.parent.parent.name

    @property
    def id(self) -> str:
        return f"{self.module}/{self.path.stem}"

    @property
    def params(self) -> dict[str, Any]:
        return dict(self.content["params"])

    @property
    def state(self) -> bytes:
        return bytes.fromhex(self.content["state"])

    @property
    def series(self) -> list[Series]:
        return [
            Series(
                one["name"],
                one["unit"],
                [one["start_ns"] + after * 1_000_000 for after in one["after_ms"]],
                [float(value) for value in one["values"]],
            )
            for one in self.content["series"]
        ]

    def run(self, target: str | None = None) -> Reply:
        params = json.dumps(self.params).encode() if self.params else b""
        return run(committed(self.module, target), request(self.series, params, self.state), target=target)


def plain(value: Any) -> Any:
    """The value in JSON's words."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def expected(reply: Reply) -> dict[str, Any]:
    return {
        "summary": plain(decode_cbor(reply.summary)),
        "state": None if reply.state is None else reply.state.hex(),
        "derived": [plain([one.name, one.unit, one.times, one.values]) for one in reply.derived],
        "alert": None if reply.alert is None else plain(decode_cbor(reply.alert)),
        "sha256": hashlib.sha256(reply.sections).hexdigest(),
    }


def cases() -> list[Case]:
    return [Case(path, json.loads(path.read_text())) for path in sorted(MODULES.glob("*/golden/*.json"))]


def render(content: dict[str, Any]) -> str:
    """JSON for reading: a line for each channel and each part of the reply."""

    def entry(key: str, value: Any) -> str:
        if isinstance(value, dict) and key in ("expected", "summary"):
            return f"{json.dumps(key)}: {{\n" + ",\n".join(entry(*item) for item in value.items()) + "\n}"
        if isinstance(value, list) and key in ("series", "alert"):
            return f"{json.dumps(key)}: [\n" + ",\n".join(json.dumps(item) for item in value) + "\n]"
        return f"{json.dumps(key)}: {json.dumps(value)}"

    return "{\n" + ",\n".join(entry(*item) for item in content.items()) + "\n}\n"


def renew() -> None:
    for case in cases():
        case.path.write_text(render({**case.content, "expected": expected(case.run())}))
        print(case.id)


if __name__ == "__main__":
    renew()
