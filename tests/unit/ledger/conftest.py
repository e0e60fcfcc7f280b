from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from edgenode.ledger.outbox import Outbox
from edgenode.ledger.store import Ledger

from .documents import Documents


@pytest.fixture
def documents() -> Documents:
    return Documents()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    ledger = Ledger(tmp_path / "ledger.db")
    yield ledger
    ledger.close()


@pytest.fixture
def outbox(ledger: Ledger) -> Outbox:
    return Outbox(ledger.database)
