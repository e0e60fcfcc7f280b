"""``python -m tests.bench``: measure every figure, print a table, write build/bench.json; exit 1 when a target is missed.

Each file of figures runs in a process of its own: what one has imported or left behind changes nothing for the next, and the memory that
is shared with this process is not counted as saved.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.bench.figure import Figure

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "build" / "bench.json"
_COLUMNS = "{:<16} {:>10} {:<5} {:>10} {:>8}   {:<8} {:<7} {}"


class Row(NamedTuple):
    figure: Figure
    value: float
    baseline: float

    @property
    def ratio(self) -> float:
        return self.value / self.baseline


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--only", metavar="NAME", help="measure this figure alone; the others stay in the results as they were")
    parser.add_argument("--json", type=Path, default=RESULTS, metavar="FILE", help="where the results go (default: build/bench.json)")
    options = parser.parse_args()
    rows = []
    print(_COLUMNS.format("figure", "value", "unit", "baseline", "ratio", "target", "", "which baseline"))
    for file in sorted((Path(__file__).parent / "figures").glob("*.py")):
        for row in _measure(file.stem, options.only):
            rows.append(row)
            print(_line(row), flush=True)
    if not rows:
        parser.error(f"no figure is named {options.only}")
    _write(options.json, rows, keep=options.only is not None)
    missed = [row.figure.name for row in rows if not row.figure.met(row.value)]
    if missed:
        print(f"missed: {', '.join(missed)}", file=sys.stderr)
    return 1 if missed else 0


def _measure(file: str, only: str | None) -> list[Row]:
    command = [sys.executable, "-m", "tests.bench.figure", file, *([only] if only else [])]
    out = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True).stdout
    return [Row(Figure(**row["figure"]), row["value"], row["baseline"]) for row in json.loads(out)]


def _line(row: Row) -> str:
    figure = row.figure
    verdict = "" if not figure.target else "met" if figure.met(row.value) else "MISSED"
    numbers = f"{row.value:.2f}", figure.unit, f"{row.baseline:.2f}", f"{row.ratio:.2f}"
    return _COLUMNS.format(figure.name, *numbers, figure.target, verdict, figure.against)


def _write(path: Path, rows: list[Row], *, keep: bool) -> None:
    results = json.loads(path.read_text()) if keep and path.exists() else {}
    for row in rows:
        results[row.figure.name] = {"value": row.value, "unit": row.figure.unit, "baseline": row.baseline, "ratio": row.ratio}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
