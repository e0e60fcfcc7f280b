"""``python -m tests.fuzz [--minutes N] [TARGET...]``: fuzz each target in a process of its own, coverage guiding it; exit 1 when one fails.

What made a target fail is left in build/fuzz/<target>/, next to the corpus that was found on the way. Needs the extra ``fuzz``.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

CORPUS = Path(__file__).parents[2] / "build" / "fuzz"
LONGEST_INPUT = 4096

_RUN = """
import sys
import atheris
with atheris.instrument_imports(include=["edgenode", "edgenode_sdk", "cbor2"]):
    from tests.fuzz.targets import TARGETS
target = TARGETS[sys.argv.pop(1)]
atheris.Setup(sys.argv, target)
atheris.Fuzz()
"""


def main() -> int:
    from tests.fuzz.targets import SEEDS, TARGETS

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=2.0, help="for each target (default: 2)")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all when none is given")
    options = parser.parse_args()
    if unknown := set(options.targets) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(unknown))}")
    failed = []
    for name in options.targets or TARGETS:
        folder = CORPUS / name
        folder.mkdir(parents=True, exist_ok=True)
        for index, seed in enumerate(SEEDS[name]):
            (folder / f"seed-{index}").write_bytes(seed)
        limits = [f"-max_total_time={round(options.minutes * 60)}", f"-max_len={LONGEST_INPUT}", "-timeout=20", "-print_final_stats=1"]
        print(f"{name}: {options.minutes:g} minutes", flush=True)
        command = [sys.executable, "-c", _RUN, name, *limits, f"-artifact_prefix={folder}/failed-", str(folder)]
        if subprocess.run(command, cwd=Path(__file__).parents[2]).returncode:
            failed.append(name)
    print(f"failed: {', '.join(failed)}" if failed else "every target held")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
