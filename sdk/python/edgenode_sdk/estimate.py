"""What a job costs, and how much of a node it takes. Arithmetic alone: it runs nothing and asks nobody.

steps that were run here --Cost--> worst fuel of a step --load, with a node's reading--> seconds, share of a worker
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from edgenode.formats.reading import Reading
from edgenode.records import Outcome, StepResult, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class StepCost:
    """One step that was run: ``fuel`` is None where the engine cannot say (a trap), and the sizes are bytes."""

    window: Window
    samples: int
    outcome: Outcome
    fuel: int | None
    summary: int
    derived: int
    state: int

    @classmethod
    def of(cls, window: Window, samples: int, result: StepResult) -> StepCost:
        sizes = {"summary": len(result.summary), "derived": len(result.derived), "state": len(result.state)}
        return cls(window=window, samples=samples, outcome=result.outcome, fuel=result.fuel, **sizes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """A job's steps under their fuel limit. With no step that told its fuel, the limit itself is the worst case."""

    limit: int
    steps: tuple[StepCost, ...] = ()

    @property
    def median(self) -> int | None:
        fuel = self._fuel
        return statistics.median_high(fuel) if fuel else None

    @property
    def worst(self) -> int:
        return max(self._fuel, default=self.limit)

    @property
    def failed(self) -> tuple[StepCost, ...]:
        return tuple(step for step in self.steps if not step.outcome.ok)

    @property
    def _fuel(self) -> list[int]:
        return [step.fuel for step in self.steps if step.fuel is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a job is for one worker of a node. ``share`` is None where the job's windows do not follow one another.

    The guests' work alone: what a node spends on a step beside it (an instance, the snapshot, the commit) comes on top, and is some
    milliseconds at most.
    """

    step_seconds: float
    job_seconds: float
    share: float | None

    @property
    def keeps_up(self) -> bool:
        return self.share is None or self.share <= 1


def load(fuel: int, reading: Reading, *, steps: int, every_ns: int | None) -> Load:
    """``steps`` of ``fuel`` each at a node; ``every_ns``: one of them falls due that often, None when they do not follow one another."""
    step_seconds = fuel / reading.fuel_per_second
    share = None if every_ns is None else step_seconds * 1e9 / every_ns
    return Load(step_seconds=step_seconds, job_seconds=steps * step_seconds, share=share)
