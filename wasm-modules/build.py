"""Builds the guest modules: ``python wasm-modules/build.py [--check] [NAME...]``.

The same sources give the same bytes in any folder and on any machine: the compiler is pinned (the ``ziglang`` package, extra
``test``), nothing but the freestanding target is linked, and neither names, paths nor tool versions stay in the output.
``--check`` builds into a temporary folder and compares with what is committed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

MODULES = Path(__file__).resolve().parent
ROOT = MODULES.parent
ZIG = "0.17.1"

FLAGS = (
    "-target", "wasm32-freestanding",
    # The features are named one by one, so that a compiler's new default cannot bring in one that the sandbox turns off.
    "-mcpu=mvp+bulk_memory+nontrapping_fptoint+sign_ext",
    "-std=c11", "-O2", "-g0", "-Wall", "-Wextra", "-Werror",
    # One rounding for one operation, as the source says; sqrt is the instruction.
    "-ffp-contract=off", "-fno-math-errno",
    "-fno-sanitize=all", "-fno-ident",
    "-nostdlib", "-Wl,--no-entry", "-Wl,--strip-all", "-Wl,-z,stack-size=65536",
)  # fmt: skip


def compile_guest(source: Path, output: Path) -> None:
    """Compiles one C file to one module. Raises CalledProcessError when the compiler refuses it, with its words on stderr."""
    cache = str(ROOT / "build" / "zig-cache")
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, f"-I{ROOT / 'sdk' / 'c'}", f"-I{MODULES}"]
    subprocess.run([*command, "-o", str(output), str(source)], env=environment, check=True)
    output.chmod(0o644)


def check_compiler() -> None:
    found = subprocess.run([sys.executable, "-m", "ziglang", "version"], capture_output=True, text=True, check=True).stdout.strip()
    if found != ZIG:
        sys.exit(f"ziglang {ZIG} is needed for the committed bytes, found {found}: pip install ziglang=={ZIG}")


def names() -> list[str]:
    return sorted(manifest.parent.name for manifest in MODULES.glob("*/manifest.toml"))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the guest modules.")
    parser.add_argument("--check", action="store_true", help="build aside and compare with the committed modules")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names())}; all when none is given")
    options = parser.parse_args(arguments)
    unknown = set(options.names) - set(names())
    if unknown:
        parser.error(f"no such module: {', '.join(sorted(unknown))}")
    check_compiler()
    differing = 0
    for name in options.names or names():
        committed = MODULES / name / f"{name}.wasm"
        source = MODULES / name / "src" / f"{name}.c"
        if not options.check:
            compile_guest(source, committed)
            print(f"{name}: {committed.stat().st_size} bytes")
            continue
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder) / committed.name
            compile_guest(source, built)
            same = committed.exists() and built.read_bytes() == committed.read_bytes()
        print(f"{name}: {'as committed' if same else 'DIFFERS from what is committed: build it and commit the result'}")
        differing += not same
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
