"""What a figure is, and the process that measures one file of them.

A file in ``figures/`` has ``FIGURES`` and ``measure()``, which gives value and baseline of each by name. The baseline is a bare call of
the same kind, measured in the same run and in turns with the value, so that noise hits both: their ratio travels between machines, the
absolute figures do not.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import quantiles
from typing import NamedTuple, Protocol, cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    name: str
    unit: str
    against: str  # what the baseline is
    at_most: float | None = None
    at_least: float | None = None

    def met(self, value: float) -> bool:
        """Whether the value keeps to the figure's target; one without a target is always met."""
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    @property
    def target(self) -> str:
        if self.at_most is not None:
            return f"<= {self.at_most:g}"
        return "" if self.at_least is None else f">= {self.at_least:g}"


class Measured(NamedTuple):
    value: float
    baseline: float


class FigureFile(Protocol):
    FIGURES: tuple[Figure, ...]

    def measure(self) -> Mapping[str, Measured]: ...


def percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100, method="inclusive")[percent - 1]


def main() -> None:
    """``python -m tests.bench.figure FILE [NAME]``: measure one file, unless it has not got the figure ``NAME``; rows as JSON."""
    file = cast(FigureFile, importlib.import_module(f"tests.bench.figures.{sys.argv[1]}"))
    figures = {figure.name: figure for figure in file.FIGURES}
    wanted = sys.argv[2:] or list(figures)
    rows = []
    if not figures.keys().isdisjoint(wanted):
        measured = file.measure()
        rows = [{"figure": dataclasses.asdict(figures[name]), **measured[name]._asdict()} for name in wanted]
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
