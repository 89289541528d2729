"""Facts that a model card is made of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

from harness.config import DataConfig, TrialConfig
from harness.export.base_model import BaseModel
from harness.export.chosen_trial import ChosenTrial
from harness.export.measured import MeasuredAgain
from harness.models.loading.base_card import BaseCard
from harness.records import Record
from harness.reporting.evidence.candidates import CandidateSet


@dataclass(frozen=True)
class CardFacts:
    """The exported trial, its base, and what was measured in the export."""

    name: str
    choice: ChosenTrial
    config: TrialConfig
    base: BaseModel
    base_card: BaseCard | None
    adapter: dict[str, Any] | None  # peft's configuration; None for a whole model
    labels: tuple[str, ...]  # of a classifier
    use: str  # the command that runs load.py
    cannot_merge: str | None  # the reason, if there is one
    again: MeasuredAgain | None
    bits: int | None

    @property
    def record(self) -> Record:
        return self.choice.row.record

    @cached_property
    def alone(self) -> CandidateSet:
        """The trial as the only candidate of its sweep."""
        return self.choice.alone

    @property
    def is_whole(self) -> bool:
        return self.adapter is None

    @property
    def data_label(self) -> str:
        return data_label(self.config.data)

    @property
    def what(self) -> str:
        """One sentence: adapter or model, of which base, tuned on what."""
        kind = f"a whole model, tuned by {self.record.method} from"
        if self.adapter is not None:
            kind = (
                f"{self.adapter.get('peft_type', 'a peft')} adapter, tuned by {self.record.method},"
            )
            kind = f"a {kind} for"
        return f"This is {kind} {self.base.label}, on {self.data_label}."


def data_label(data: DataConfig) -> str:
    """Return the data's name: on the hub, or of its files, without their folders."""
    if data.source == "hub" and data.name:
        return PurePath(data.name).name if data.name.startswith(("/", "~", ".")) else data.name
    if data.source == "builtin" or data.train is None:
        return (
            f"the built-in data {PurePath(str(data.train)).stem}"
            if data.train
            else "the built-in data"
        )
    files = [data.train] if isinstance(data.train, str) else data.train
    names = [PurePath(file.rstrip("/")).name for file in files[:3]]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return f"{', '.join(names)}{more} ({data.source})"
