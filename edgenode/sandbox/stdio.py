"""A step as a command sees it (docs/wasi.md): the request becomes files, environment and stdin, and what it leaves becomes the reply.

context -> environment    params -> /in/params.json    state -> /state/in    snapshot -> stdin
stdout -> summary         /state/out -> state          /out/derived.csv -> derived       stderr -> log
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from edgenode.formats import stdin, table
from edgenode.records import Outcome, OutcomeKind, StepContext
from edgenode.sandbox.abi import DERIVED_SERIES, Bytes, OutputLimits, Reply, split_request
from edgenode.sandbox.command import CommandBudget, Ended
from edgenode.sandbox.image import STDERR_BYTES, Kind, Record, Settings

_DERIVED_TEXT: Final = 16  # bytes of /out/derived.csv for each byte of its series: the longest row has 250, and is 16 in a series

NAME: Final = b"job"  # argv[0]: the same for every module, so that a replay needs no more than the core names

_FOLDERS: Final = (b"in", b"out", b"state", b"tmp")


def records(request: Bytes, media_type: str, *, stdout: int) -> Iterator[Record]:
    """What the image of a command holds. Raises MalformedError for a request that abi.request_head did not make."""
    head = split_request(request)
    context = head.context
    yield Settings(clock_ns=context.window.end_ns, seed=context.seed, stdout=stdout, stderr=STDERR_BYTES).record()
    yield Record(Kind.ARGUMENT, content=NAME)
    for name, value in _environment(context, bytes(head.params)).items():
        yield Record(Kind.VARIABLE, content=f"EDGENODE_{name}=".encode() + value)
    yield Record(Kind.PREOPEN, b"/")
    for folder in _FOLDERS:
        yield Record(Kind.DIRECTORY, folder)
    if head.params:
        yield Record(Kind.FILE, b"in/params.json", head.params)
    if head.state:
        yield Record(Kind.FILE, b"state/in", head.state)
    yield Record(Kind.STDIN, content=stdin.convert(media_type, head.frame))


def budget(fuel: int, memory: int, files: int, output: OutputLimits) -> CommandBudget:
    """A command's budget, of whose files so much is read as can fit into the reply."""
    return CommandBudget(fuel, memory, files, output.state, _DERIVED_TEXT * (output.derived + 256))


def reply(ended: Ended, limits: OutputLimits) -> Reply | Outcome:
    """What a command that ended well left, or the outcome when that is too large or malformed."""
    if ended.stdout.lost or len(ended.stdout.data) > limits.summary:
        return Outcome(kind=OutcomeKind.OUTPUT, detail="summary")
    if ended.state is not None and len(ended.state) > limits.state:
        return Outcome(kind=OutcomeKind.OUTPUT, detail="state")
    try:
        derived = table.parse(ended.derived or b"", limits.derived, DERIVED_SERIES)
    except table.TooLargeError:
        return Outcome(kind=OutcomeKind.OUTPUT, detail="derived")
    except table.TableError as error:
        return Outcome(kind=OutcomeKind.REPLY, detail=error.detail)
    return Reply(ended.stdout.data, ended.state, derived)


def _environment(context: StepContext, params: bytes) -> dict[str, bytes]:
    """Names and values of the variables; params only where they can be one (text without a zero byte)."""
    complete = context.completeness
    numbers = {
        "WINDOW_START": context.window.start_ns,
        "WINDOW_END": context.window.end_ns,
        "STEP": context.step,
        "REVISION": context.revision,
        "EXPECTED": complete.expected,
        "RECEIVED": complete.received,
        "LATE": complete.late,
        "DROPPED": complete.dropped,
    }
    found = {name: str(number).encode() for name, number in numbers.items() if number is not None}
    if params and b"\0" not in params:
        found["PARAMS"] = params
    return found
