"""Files of a trial beside its record: curves, per-example results, outputs and adapter."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.config import DataConfig
from harness.data.tokens.written_form import how_written
from harness.evaluation.base_reference import Reference
from harness.evaluation.collector import MeasurementCollector
from harness.methods import Method
from harness.records import append_jsonl, read_jsonl, write_json, write_text
from harness.records.store import to_jsonl

if TYPE_CHECKING:
    from torch import nn

FLUSH_SECONDS = 0.5


class EventLog:
    """Log ``metrics.jsonl``: one row per step and per evaluation, written as they happen."""

    def __init__(self, path: Path | None, check: Callable[[], None] = lambda: None) -> None:
        """Open the log at ``path``; None drops all rows, because only one process of several writes.

        ``check`` is called before each write, and raises if nothing may be written.
        """
        self._path, self._check = path, check
        self._waiting: list[dict[str, Any]] = []
        self._flushed = time.monotonic()

    def begin(self, step: int) -> None:
        """Resume after ``step``: delete the later rows of an earlier attempt."""
        if self._path is None:
            return
        self._check()
        kept = [row for row in read_jsonl(self._path) if row.get("step", 0) <= step > 0]
        write_text(self._path, to_jsonl(kept))

    def step(self, row: dict[str, Any]) -> None:
        self._waiting.append({"kind": "train", **row})
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def evaluation(
        self, step: int, values: dict[str, float], comparable: bool = True, final: bool = False
    ) -> None:
        """Write the row of an evaluation.

        ``comparable``: whether the pruner may judge the trial by it. ``final``: measured on all
        texts of the stage, and not on the sample used during training.
        """
        row: dict[str, Any] = {"kind": "evaluation", "step": step, "measurements": values}
        marks = ({} if comparable else {"comparable": False}) | ({"final": True} if final else {})
        self._waiting.append(row | marks)
        self.flush()

    def flush(self) -> None:
        if self._path is not None:
            self._check()
            append_jsonl(self._path, self._waiting)
        self._waiting.clear()
        self._flushed = time.monotonic()


def write_items(folder: Path, measured: MeasurementCollector, reference: Reference) -> None:
    """Write per-example statistics, outputs beside the base's, and the rows of probes."""
    for name, found in (("items", measured.items), ("base_items", reference.items)):
        rows = [
            {"measurement": measurement, "statistics": statistics.round(6).tolist()}
            for measurement, statistics in found.items()
        ]
        write_text(folder / f"{name}.jsonl", to_jsonl(rows))
    n = len(measured.predictions)
    predictions = [
        {**row, "base": base}
        for row, base in zip(measured.predictions, reference.outputs or n * [None], strict=False)
    ]
    for row, cut in zip(predictions, _cut(measured, reference), strict=False):
        row["base_unfinished"] = cut
    write_text(folder / "predictions.jsonl", to_jsonl(predictions))
    for name, rows in measured.files.items():
        write_text(folder / f"{name}.jsonl", to_jsonl(rows))


def _cut(measured: MeasurementCollector, reference: Reference) -> list[bool]:
    """Return for each of the base's answers whether it reached the token limit, where known."""
    split = measured.predictions[0]["split"] if measured.predictions else ""
    return [bool(one) for (one,) in reference.items.get(f"{split}.unfinished", ())]


def write_base_weights(folder: Path, layers: list[dict[str, Any]] | None) -> None:
    """Write ``base_weights.json``: the normality of the weights that this trial quantizes."""
    if layers is not None:
        write_json(folder / "base_weights.json", {"layers": layers})


def save_adapter(
    folder: Path,
    method: Method,
    model: nn.Module,
    tokenizer: Any,
    labels: Sequence[str] = (),
    data: DataConfig | None = None,
) -> None:
    """Save the adapter in safetensors, or the whole model if all of it was trained.

    A classifier's head and ``labels`` are saved beside it. ``prompts.json`` holds how prompts of
    ``data`` are written.
    """
    from harness.models.classifier import save_class_head, without_class_head

    aside = folder.with_name("adapter.tmp")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    with without_class_head(model):
        method.save(model, aside)
    if labels:
        save_class_head(model, aside, labels)
    tokenizer.save_pretrained(aside)
    if data is not None:
        write_json(aside / "prompts.json", how_written(tokenizer, data))
    shutil.rmtree(folder, ignore_errors=True)
    aside.replace(folder)
