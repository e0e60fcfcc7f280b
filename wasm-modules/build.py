"""Builds the guest modules, and the guests' operating system as ``wasi``: ``python wasm-modules/build.py [--check] [NAME...]``.

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
from collections.abc import Iterable
from pathlib import Path

import wasmtime

MODULES = Path(__file__).resolve().parent
ROOT = MODULES.parent
WASI = ROOT / "edgenode" / "sandbox" / "wasi"
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


# What the host and the bridge need of the operating system beside its calls, which the sources name.
WASI_FLAGS = ("-Wl,--export=result", "-Wl,--export=__heap_base", "-Wl,--export-table")


def build(name: str, folder: Path) -> list[Path]:
    """Builds into a folder. Raises CalledProcessError when the compiler refuses a source, with its words on stderr."""
    output = folder / f"{name}.wasm"
    if name != "wasi":
        compile_guest(MODULES / name / "src" / f"{name}.c", output)
        return [output]
    compile_c(sorted(WASI.glob("*.c")), output, *WASI_FLAGS)
    with output.open("ab") as binary:
        binary.write(name_section("edgenode:wasi"))
    bridge = folder / "bridge.wasm"
    bridge.write_bytes(wasmtime.wat2wasm((WASI / "bridge.wat").read_text()))
    return [output, bridge]


def compile_guest(source: Path, output: Path) -> None:
    """Compiles one C file to one module of the ``step`` ABI."""
    compile_c([source], output, f"-I{ROOT / 'sdk' / 'c'}", f"-I{MODULES}")


def compile_c(sources: Iterable[Path], output: Path, *flags: str) -> None:
    cache = str(ROOT / "build" / "zig-cache")
    environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": cache, "ZIG_LOCAL_CACHE_DIR": cache}
    command = [sys.executable, "-m", "ziglang", "cc", *FLAGS, *flags]
    subprocess.run([*command, "-o", str(output), *map(str, sources)], env=environment, check=True)
    output.chmod(0o644)


def name_section(name: str) -> bytes:
    """The custom section that names a module, and nothing in it: by it a trap's frames tell the operating system from its guest."""
    text = name.encode()
    module = bytes([0, len(text) + 1, len(text)]) + text
    return bytes([0, len(module) + 5, 4]) + b"name" + module


def check_compiler() -> None:
    found = subprocess.run([sys.executable, "-m", "ziglang", "version"], capture_output=True, text=True, check=True).stdout.strip()
    if found != ZIG:
        sys.exit(f"ziglang {ZIG} is needed for the committed bytes, found {found}: pip install ziglang=={ZIG}")


def names() -> list[str]:
    return [*sorted(manifest.parent.name for manifest in MODULES.glob("*/manifest.toml")), "wasi"]


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
        committed = WASI if name == "wasi" else MODULES / name
        if not options.check:
            for output in build(name, committed):
                print(f"{output.stem}: {output.stat().st_size} bytes")
            continue
        with tempfile.TemporaryDirectory() as folder:
            for built in build(name, Path(folder)):
                same = (committed / built.name).exists() and (committed / built.name).read_bytes() == built.read_bytes()
                print(f"{built.stem}: {'as committed' if same else 'DIFFERS from what is committed: build it and commit the result'}")
                differing += not same
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
