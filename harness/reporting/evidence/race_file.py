"""``race.json``: rounds of confirm seeds of a sweep on a budget, with the candidates dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from harness.config.strict import from_mapping
from harness.errors import InputError
from harness.records.store import read_json, write_json

FILE = "race.json"


@dataclass(frozen=True)
class Round:
    """One round: the seeds that each finalist has at its end, and the result of the comparison."""

    seeds: Mapping[str, int]  # configuration → number of seeds started, this round included
    looked: bool = False  # True once all have ended and were compared
    dropped: Mapping[str, str] = field(default_factory=dict)  # configuration → why, at this look
    said: str = ""  # reason for the next seeds, or for the end of the race


@dataclass(frozen=True)
class Race:
    """All rounds so far. The number of looks determines the level of the report's tests."""

    rounds: list[Round] = field(default_factory=list)

    @property
    def looked(self) -> list[Round]:
        """Return the rounds at whose end the finalists were compared."""
        return [one for one in self.rounds if one.looked]

    @property
    def looks(self) -> int:
        return len(self.looked)

    @property
    def dropped(self) -> dict[str, str]:
        return {name: why for one in self.rounds for name, why in one.dropped.items()}

    @property
    def seeds(self) -> Mapping[str, int]:
        return self.rounds[-1].seeds if self.rounds else {}


def read_race(folder: Path) -> Race:
    """Read the race of a sweep. It has no rounds if the sweep ran none or the file is unreadable."""
    found: Any = read_json(folder / FILE)
    try:
        return Race([from_mapping(Round, each) for each in found["rounds"]])
    except (InputError, LookupError, TypeError):
        return Race()


def write_race(folder: Path, race: Race) -> None:
    write_json(folder / FILE, asdict(race))
