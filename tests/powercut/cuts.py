"""What ends a run: the operation, and what the medium makes of it. Written and read as ``57:torn``."""

from __future__ import annotations

from dataclasses import dataclass

from boards.virtual.disk import Cut, Survival

KILL = "kill"


@dataclass(frozen=True, slots=True)
class PlannedCut:
    """The operation, counted from the arming or from the start after the cut before; ``way`` names how it ends."""

    operation: int
    way: str

    @property
    def cut(self) -> Cut:
        return Cut.KILL if self.way == KILL else Cut.POWER

    @property
    def survival(self) -> Survival:
        return Survival.LOST if self.way == KILL else Survival[self.way.upper()]

    def __str__(self) -> str:
        return f"{self.operation}:{self.way}"

    @classmethod
    def parse(cls, text: str) -> PlannedCut:
        """Raises ValueError."""
        operation, way = text.split(":")
        if way not in WAYS:
            raise ValueError(f"{way} is none of {', '.join(WAYS)}")
        return cls(int(operation), way)


WAYS = (*(survival.name.lower() for survival in Survival), KILL)


@dataclass(frozen=True, slots=True)
class Task:
    """One run of a scenario: its cuts, one after the other, and the seed of what survives them."""

    scenario: str
    cuts: tuple[PlannedCut, ...] = ()
    seed: int = 0

    def command(self) -> str:
        """What repeats this run."""
        cuts = "".join(f" --cut {cut}" for cut in self.cuts)
        return f"python -m tests.powercut --only {self.scenario} --seed {self.seed}{cuts}"
