"""Selection of the step whose weights a trial ends with: the last, or the best evaluated one.

It uses the validation and general texts of the curves, never the test split.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import TrainingConfig
from harness.language import recorded
from harness.methods import Method
from harness.statistics.measurements.names import (
    FORGETTING_KL,
    VALIDATION_LOSS,
    VALIDATION_PERPLEXITY,
)
from harness.training.checkpoint import Checkpoint, CheckpointFolder

if TYPE_CHECKING:
    from torch import nn

FOLDER = "selected"  # beside the trial's checkpoints


@dataclass
class Selection:
    """Keeps the weights of the best step so far on disk, saved atomically for resumed runs."""

    limit: float | None  # nats per token, of ``FORGETTING_KL``
    quality: str  # name of a measurement; lower is better
    kept: CheckpointFolder
    best: int | None = None
    values: dict[str, float] = field(default_factory=dict)  # measurements at ``best``

    @classmethod
    def of(cls, training: TrainingConfig, folder: Path, classes: bool) -> Selection | None:
        """Return the selection for a configuration; None if it wants the last step."""
        if training.select_checkpoint == "last":
            return None
        quality = VALIDATION_LOSS if classes else VALIDATION_PERPLEXITY
        kept = CheckpointFolder(folder / FOLDER, kept=1)
        return cls(training.select_forgetting_limit, quality, kept)

    def begin(self, step: int) -> None:
        """Resume after ``step``. A step kept by this run may be later than ``step``."""
        if step == 0:
            self.kept.clear()
        found = self.kept.load()
        if found is not None:
            self.best, self.values = found.step, dict(found.state["values"])

    def offer(
        self,
        step: int,
        values: Mapping[str, float],
        method: Method,
        model: nn.Module,
        names: set[str],
    ) -> None:
        """Save the parameters ``names`` if this step is the best so far.

        Step 0, the untrained model, never counts.
        """
        if step == 0 or (self.best is not None and self.rank(values) >= self.rank(self.values)):
            return
        self.best, self.values = step, dict(values)
        tensors = {n: p.detach() for n, p in model.named_parameters() if n in names}
        state = {"method": method.state(model), "values": self.values}
        self.kept.save(Checkpoint(step, tensors, state))

    def rank(self, values: Mapping[str, float]) -> tuple[bool, float]:
        """Return a sort key; lower is better.

        Steps within the limit of forgetting are ranked by quality, all others by forgetting.
        Missing values are worst.
        """
        forgetting = values.get(FORGETTING_KL, math.inf)
        beyond = self.limit is not None and forgetting > self.limit
        return beyond, forgetting if beyond else values.get(self.quality, math.inf)

    def restore(self, method: Method, model: nn.Module) -> None:
        """Load the weights of the best step into ``model``."""
        import torch

        found = self.kept.load()
        assert found is not None, "the last step is evaluated and offered"
        named = dict(model.named_parameters())
        with torch.no_grad():
            for name, tensor in found.tensors.items():
                named[name].copy_(tensor)
        method.load_state(model, found.state["method"])

    def describe(self) -> dict[str, Any]:
        """Return the step, the criterion, and whether it keeps the limit, for the record."""
        beyond, _ = self.rank(self.values)
        why = recorded("the best quality of all evaluated steps")
        if self.limit is not None:
            why = recorded(
                "the best quality with {name} of at most {limit:g}",
                name=FORGETTING_KL,
                limit=self.limit,
            )
        if beyond:
            why = recorded(
                "none had {name} of at most {limit:g}: the one that forgot least",
                name=FORGETTING_KL,
                limit=self.limit,
            )
        shown = {name: self.values.get(name) for name in (self.quality, FORGETTING_KL)}
        return {"step": self.best, "by": self.quality, "limit": self.limit, "why": why, **shown}
