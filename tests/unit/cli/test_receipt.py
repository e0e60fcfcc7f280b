"""What the command line tells of a replay, and by whose word."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from edgenode.cli import exits
from edgenode.cli.root import run
from edgenode.formats import document
from edgenode.records import Outcome, OutcomeKind, StepResult, digest
from edgenode.testing import FakeClock
from edgenode_sdk import bundle, saved
from edgenode_sdk.home import YEAR

from ..sdk.evidence import Evidence

LIE = StepResult(outcome=Outcome(kind=OutcomeKind.OK), fuel=None, summary=b"hullo", state=b"", derived=b"", alerts=b"", wall_ns=1)


@pytest.fixture
def evidence(tmp_path: Path) -> Evidence:
    return Evidence(tmp_path)


def lied(evidence: Evidence, folder: Path) -> Path:
    """A bundle whose node signed another summary than its step has."""
    result, materials = evidence.step()
    assert result.core is not None
    told = evidence.receipt(document.encode(replace(result.core, summary=digest(b"hullo"))), LIE, bytes(32))
    path = folder / "lied.bundle"
    bundle.write(path, told, materials, evidence.home.trust_data())
    return path


def test_a_mismatch_shows_both_values_and_where_the_summaries_differ(
    evidence: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, home = str(lied(evidence, tmp_path)), ["--home", str(evidence.home.folder)]
    assert run(["receipt", "replay", path, *home]) == exits.FAILED
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"{path}: mismatch" and told[1].split() == ["FIELD", "RECEIPT", "HERE"]
    assert told[2].split() == ["summary", digest(b"hullo").hex(), digest(b"hello").hex()]
    assert told[3].split() == ["summary:", "byte", "1", b"ullo".hex(), b"ello".hex()]
    assert run(["receipt", "replay", path, *home, "--json"]) == exits.FAILED
    [difference] = json.loads(capsys.readouterr().out)["differences"]
    assert difference["inside"] == [{"field": "byte 1", "receipt": b"ullo".hex(), "here": b"ello".hex()}]


def test_a_bundle_at_its_own_word_names_its_root(evidence: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, root = str(lied(evidence, tmp_path)), evidence.home.identity("root").public.hex()
    for home, expected in ((tmp_path / "nobody", [root]), (evidence.home.folder, [])):
        run(["receipt", "replay", path, "--home", str(home), "--json"])
        told = capsys.readouterr()
        assert json.loads(told.out)["own_word"] == expected
        assert (root in told.err) is bool(expected)


def test_a_receipt_by_itself_needs_a_trust_document(evidence: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(saved.save(evidence.fault(), tmp_path))
    for command in ("verify", "replay"):
        assert run(["receipt", command, path, "--home", str(tmp_path / "nobody")]) == exits.USAGE
        assert "trust.cbor" in capsys.readouterr().out
    assert run(["receipt", "verify", path, "--home", str(tmp_path / "nobody"), "--trust", str(evidence.home.trust_path)]) == exits.OK


def test_a_fault_is_not_replayable_and_not_bundled(evidence: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, home = str(saved.save(evidence.fault(), tmp_path)), ["--home", str(evidence.home.folder)]
    assert run(["receipt", "replay", path, *home]) == exits.FAILED
    assert capsys.readouterr().out == f"{path}: not replayable: a fault receipt: no step was run\n"
    assert run(["receipt", "bundle", path, "-o", str(tmp_path / "none"), *home]) == exits.REFUSED
    assert "no step was run" in capsys.readouterr().err


def test_an_expired_trust_document_still_judges_the_time_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long_ago = FakeClock()
    long_ago.advance(-2 * YEAR)
    evidence = Evidence(tmp_path, long_ago)
    path, home = str(saved.save(evidence.fault(), tmp_path)), str(evidence.home.folder)
    assert run(["receipt", "verify", path, "--home", home]) == exits.OK
    told = capsys.readouterr()
    assert "signed by press-7" in told.out and "expired" in told.err and "revoked since" in told.err


def test_a_bundle_is_shown_like_its_receipt(evidence: Evidence, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = str(lied(evidence, tmp_path))
    assert run(["receipt", "show", path, "--home", str(evidence.home.folder), "--json"]) == exits.OK
    assert json.loads(capsys.readouterr().out)["node"]["name"] == "press-7"
    assert run(["receipt", "bundle", path, "-o", str(tmp_path / "again"), "--home", str(evidence.home.folder)]) == exits.USAGE
