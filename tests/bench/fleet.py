"""A fleet of one node in a folder: ``home/`` is the laptop's, ``node/`` the node's. ``python -m tests.bench.fleet FOLDER`` makes one.

The node has a source of ten channels at 10 Hz (a recording in a loop), this machine's own readings once a second, and an uplink to a hub
that is not there.
"""

from __future__ import annotations

import sys
from pathlib import Path

from edgenode.clock import SystemClock, seconds
from edgenode.files import write_document
from edgenode.state import State
from edgenode.trust.issue import issue
from edgenode_sdk import Home
from tests.bench import guest

CHANNELS = 10
ROWS = 600  # of the recording: a minute

_CONFIG = """\
name = "bench"
[intake]
host = "127.0.0.1"
port = 0
[peers]
interfaces = ["127.0.0.1"]
[sources.host]
driver = "host"
interval_ms = 1000
[sources.press]
driver = "replay"
path = "{recording}"
loop = true
shift = true
[uplinks.hub]
url = "https://127.0.0.1:9"
key = "{hub}"
"""


def create(folder: Path, *, recording: bool = True) -> Home:
    """Make both folders. Without ``recording`` the node has its own readings as its only source."""
    home = Home.create(folder / "home")
    binary = guest.wasm()
    home.put_module(guest.NAME, binary, issue(guest.manifest(binary, seconds(SystemClock())), home.identity("publisher")))
    state = State.create(folder / "node")
    write_document(state.trust, home.trust_data())
    write_document(state.node, home.enrol(state.identity().public, "bench", {}))
    path = folder / "recording.csv"
    path.write_text("".join(_recording()))
    config = _CONFIG.format(recording=path, hub=home.identity("root").public.hex())
    if not recording:
        before, _, after = config.partition("[sources.press]")
        config = before + after[after.index("[uplinks") :]
    (folder / "node" / "edgenode.toml").write_text(config)
    return home


def _recording() -> list[str]:
    names = [f"c{channel}" for channel in range(CHANNELS)]
    rows = [
        ",".join([f"{row / 10:.1f}", *(f"{(row * 7 + channel * 13) % 101 / 10}" for channel in range(CHANNELS))]) for row in range(ROWS)
    ]
    return [f"{line}\n" for line in [",".join(["time", *names]), *rows]]


if __name__ == "__main__":
    create(Path(sys.argv[1]), recording=False)
