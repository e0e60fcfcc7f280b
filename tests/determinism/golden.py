"""What steps gave on each version of the engine: golden/wasmtime-VERSION.json. ``python -m tests.determinism.golden --renew``

Another version of the engine may change fuel, never bytes: comparing the files of two versions shows which of both it did. A file is
renewed only when the modules, the golden inputs or the generator changed.
"""

from __future__ import annotations

import argparse
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgenode.records import digest

from .oracles import NATIVE, Task, ask, generated, golden_inputs, small_commands
from .runner import Result

RENEW = "make golden"
SAMPLE = range(100)  # of the generated programs


def path() -> Path:
    return Path(__file__).with_name("golden") / f"wasmtime-{version('wasmtime')}.json"


def tasks() -> list[Task]:
    return [*golden_inputs(), *small_commands(), *generated(SAMPLE)]


def entry(task: Task, result: Result) -> dict[str, Any]:
    return {"input": digest(task.wasm + task.request).hex(), "result": list(result)}


def main() -> None:
    parser = argparse.ArgumentParser(description="Golden results of this version of the engine.")
    parser.add_argument("--renew", action="store_true", required=True, help="write what this engine gives")
    parser.parse_args()
    asked = tasks()
    lines = [f"{json.dumps(one.name)}: {json.dumps(entry(one, result))}" for one, result in zip(asked, ask(NATIVE, asked), strict=True)]
    path().parent.mkdir(exist_ok=True)
    path().write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    print(f"{path().name}: {len(lines)} results")


if __name__ == "__main__":
    main()
