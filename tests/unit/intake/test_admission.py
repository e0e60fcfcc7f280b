"""Each way in which a node refuses a job, and that it takes all others."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgenode.config import SandboxConfig
from edgenode.errors import (
    CapabilityError,
    EdgenodeError,
    LimitError,
    ModuleError,
    NoSuchChannelError,
    NotSelectedError,
    QueueFullError,
    ValidityError,
)
from edgenode.formats.job import Inputs, Job, JobType, Label, Selector, Wanted
from edgenode.formats.manifest import Manifest
from edgenode.formats.trust import Node
from edgenode.intake.admission import Facts, admit, check_readable, selects
from edgenode.records import Abi, Capabilities, Limits
from edgenode.statement import step_limits

from ..ledger.documents import NOW, a_job, a_manifest, a_node

KEY, OTHER = bytes([1]) * 32, bytes([2]) * 32
LINE = Label(name="line", value="3")
NODE = a_node(KEY, labels=(LINE, Label(name="hall", value="a")))
FACTS = Facts(
    node=NODE,
    sandbox=SandboxConfig(),
    channels=("press/a", "press/b", "host/cpu", "press/a.alarm"),
    measured=("press/a", "press/b", "host/cpu"),
    open_jobs=9,
    queue_jobs=10,
)


def judge(job: Job | None = None, manifest: Manifest | None = None, facts: Facts = FACTS, now: int = NOW) -> None:
    job, manifest = job or a_job(), manifest or a_manifest()
    admit(job, manifest, step_limits(job, manifest), facts, now)


@pytest.mark.parametrize(
    "job",
    [
        a_job(),
        a_job(type=JobType.BATCH),
        a_job(until=NOW),
        a_job(inputs=Inputs(channels=("press/a", "host/*"))),
        a_job(selector=Selector(nodes=(OTHER, KEY), labels=(LINE,))),
        a_job(limits=Wanted(fuel=1000, memory=65536)),
    ],
)
def test_a_fit_job_is_taken(job: Job) -> None:
    judge(job)
    judge(job, now=job.start_by if job.until is None else job.until)


@pytest.mark.parametrize(
    ("job", "error", "says"),
    [
        (a_job(start_by=NOW - 1), ValidityError, r"1 s later"),
        (a_job(until=NOW - 1), ValidityError, r"to end by"),
        (a_job(selector=Selector(nodes=(OTHER,))), NotSelectedError, r"press-7"),
        (a_job(selector=Selector(labels=(Label(name="line", value="4"),))), NotSelectedError, r"press-7"),
        (a_job(type=JobType.SERVICE), CapabilityError, r"type service"),
        (a_job(type=JobType.DAEMON), CapabilityError, r"type daemon"),
        (a_job(limits=Wanted(fuel=1001)), CapabilityError, r"fuel 1001.* allows 1000"),
        (a_job(limits=Wanted(memory=(1 << 20) + 1)), CapabilityError, r"memory"),
        (a_job(limits=Wanted(wall_ms=10_001)), CapabilityError, r"wall_ms"),
        (a_job(limits=Wanted(state=(1 << 20) + 1)), CapabilityError, r"state"),
        (a_job(limits=Wanted(files=1)), CapabilityError, r"files"),
        (a_job(inputs=Inputs(channels=("press/a", "press/z"))), NoSuchChannelError, r"'press/z'"),
        (a_job(inputs=Inputs(channels=("valve/*",))), NoSuchChannelError, r"'valve/\*'"),
    ],
)
def test_the_reason_of_a_refusal_is_told(job: Job, error: type[EdgenodeError], says: str) -> None:
    with pytest.raises(error, match=says):
        judge(job)


@pytest.mark.parametrize("abi_or_input", [{"abi": Abi.WASI_COMMAND, "input": "text/html"}, {"input": "text/csv"}])
def test_a_module_that_this_version_does_not_run(abi_or_input: dict[str, Any]) -> None:
    with pytest.raises(ModuleError, match="statistics"):
        judge(manifest=a_manifest(**abi_or_input))


@pytest.mark.parametrize("name", ["fuel", "memory", "wall_ms"])
def test_limits_above_the_nodes_own_name_its_limit(name: str) -> None:
    sandbox = replace(SandboxConfig(), **{name: getattr(a_manifest().limits, name) - 1})
    with pytest.raises(LimitError, match=rf"limit sandbox\.{name} is"):
        judge(facts=replace(FACTS, sandbox=sandbox))


def test_a_channel_that_the_manifest_does_not_cover() -> None:
    manifest = a_manifest(capabilities=Capabilities(channels=("press/a", "host/*")))
    judge(a_job(inputs=Inputs(channels=("press/a", "host/cpu"))), manifest)
    with pytest.raises(CapabilityError, match="press/b"):
        judge(a_job(inputs=Inputs(channels=("press/*",))), manifest)
    with pytest.raises(CapabilityError, match="valve/1"):
        check_readable(manifest, ["press/a", "valve/1"])
    check_readable(manifest, [])


def test_a_full_queue_asks_to_come_again() -> None:
    with pytest.raises(QueueFullError, match=r"intake\.queue_jobs is 10") as caught:
        judge(facts=replace(FACTS, open_jobs=10))
    assert caught.value.retry


def test_what_can_never_run_is_refused_as_such_by_a_full_node_too() -> None:
    """QueueFullError would have the caller try again for ever."""
    with pytest.raises(NoSuchChannelError):
        judge(a_job(inputs=Inputs(channels=("valve",))), facts=replace(FACTS, open_jobs=10))


labels = st.tuples(st.sampled_from(["line", "hall", "kind"]), st.sampled_from(["1", "2", "3"])).map(
    lambda pair: Label(name=pair[0], value=pair[1])
)
keys = st.sampled_from([KEY, OTHER, bytes(32)])


def nodes() -> st.SearchStrategy[Node]:
    return st.builds(
        lambda key, found: a_node(key, labels=tuple(found)), keys, st.lists(labels, max_size=4, unique_by=lambda one: one.name)
    )


@given(node=nodes(), wanted=st.lists(labels, max_size=3), named=st.lists(keys, max_size=2))
def test_a_selector_means_the_named_nodes_that_have_all_labels(node: Node, wanted: list[Label], named: list[bytes]) -> None:
    has = {one.name: one.value for one in node.labels}
    expected = (node.public_key in named if named else True) and all(has.get(one.name) == one.value for one in wanted)
    assert selects(Selector(nodes=tuple(named), labels=tuple(wanted)), node) is expected


@given(node=nodes(), wanted=st.lists(labels, max_size=3), more=labels)
def test_another_label_never_selects_more_nodes(node: Node, wanted: list[Label], more: Label) -> None:
    if selects(Selector(labels=(*wanted, more)), node):
        assert selects(Selector(labels=tuple(wanted)), node)


def _narrower(name: str) -> st.SearchStrategy[int | None]:
    return st.one_of(st.none(), st.integers(1, getattr(a_manifest().limits, name)))


@given(fuel=_narrower("fuel"), wall_ms=_narrower("wall_ms"), state=_narrower("state"))
def test_limits_in_force_are_the_submitters_where_set(fuel: int | None, wall_ms: int | None, state: int | None) -> None:
    manifest = a_manifest()
    job = a_job(limits=Wanted(fuel=fuel, wall_ms=wall_ms, state=state))
    judge(job, manifest)
    most = manifest.limits
    assert step_limits(job, manifest) == Limits(
        fuel=fuel or most.fuel, memory=most.memory, files=most.files, state=state or most.state, wall_ms=wall_ms or most.wall_ms
    )


def test_a_module_may_derive_channels_that_no_source_measures() -> None:
    judge(manifest=a_manifest(capabilities=Capabilities(channels=("*",), derived=1024, derives=("*.alarm",))))


@pytest.mark.parametrize("derives", ["*", "press/*", "host/cpu"])
def test_a_module_that_could_write_over_a_measured_channel_is_refused(derives: str) -> None:
    manifest = a_manifest(capabilities=Capabilities(channels=("*",), derived=1024, derives=(derives,)))
    with pytest.raises(CapabilityError, match="which a source measures here"):
        judge(manifest=manifest)
