"""What ends a run: the operation, and what the medium makes of it. Written and read as ``57:torn``.

Beside the cuts stand the faults, ``57:eio``: the operation fails, and every one from then on with ``eio-lasting``.
"""

from __future__ import annotations

from dataclasses import dataclass

from boards.virtual.disk import Cut, Fault, Survival

KILL = "kill"
LASTING = "-lasting"
FAULT_WAYS: tuple[str, ...] = ("eio", "enospc", "short", f"eio{LASTING}", f"enospc{LASTING}")


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

    @property
    def fault(self) -> Fault | None:
        """None for a cut."""
        return Fault[self.way.removesuffix(LASTING).upper()] if self.way in FAULT_WAYS else None

    @property
    def lasting(self) -> bool:
        return self.way.endswith(LASTING)

    def __str__(self) -> str:
        return f"{self.operation}:{self.way}"

    @classmethod
    def parse(cls, text: str) -> PlannedCut:
        """Raises ValueError."""
        operation, way = text.split(":")
        if way not in (*WAYS, *FAULT_WAYS):
            raise ValueError(f"{way} is none of {', '.join((*WAYS, *FAULT_WAYS))}")
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
