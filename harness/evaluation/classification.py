"""Classification scores: accuracy, macro-averaged F1 and cross-entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from harness.data.tokens.batches import collate
from harness.data.tokens.encode import Encoded
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.texts import Texts
from harness.models.logits import logits_at
from harness.models.scoring import planned_batches

if TYPE_CHECKING:
    from torch import nn


@torch.no_grad()
def class_logprobs(model: nn.Module, encoded: Encoded, batch_size: int, device: str) -> np.ndarray:
    """Return (n, classes) log-probabilities of each sequence's class."""
    model.eval()
    rows, found = [], []
    for indices in planned_batches(model, encoded, batch_size):
        batch = collate(encoded, indices, 0).to(device)
        logits = logits_at(model, batch.input_ids, batch.attention_mask, batch.predict)
        found.append(torch.log_softmax(logits.double(), dim=-1).cpu().numpy())
        rows += indices
    together = np.concatenate(found)
    ordered = np.empty_like(together)
    ordered[rows] = together
    return ordered


def class_statistics(logprobs: np.ndarray, classes: np.ndarray) -> dict[str, np.ndarray]:
    """Return kind → (n, k) statistics from (n, K) log-probabilities and (n,) ``classes``."""
    n, n_classes = logprobs.shape
    predicted, true = np.eye(n_classes)[logprobs.argmax(axis=1)], np.eye(n_classes)[classes]
    nll = -logprobs[np.arange(n), classes]
    return {
        "accuracy": (predicted * true).sum(axis=1, keepdims=True),
        "macro_f1": np.concatenate([predicted, true, predicted * true], axis=1),
        "loss": np.stack([nll, np.ones(n)], axis=1),
    }


def classification(
    measured: MeasurementCollector, model: nn.Module, texts: Texts, batch_size: int, device: str
) -> None:
    """Add accuracy, macro_f1 and loss of ``texts.split``, and the prediction for each text."""
    encoded = texts.sequences
    assert encoded.classes is not None
    logprobs = class_logprobs(model, encoded, batch_size, device)
    _add(measured, texts, logprobs, "concat pooling")
    predicted = logprobs.argmax(axis=1)
    examples = [texts.examples[index] for index in encoded.example]
    measured.predictions = [
        {
            "split": texts.split,
            "prompt": example.prompt,
            "references": list(example.references),
            "output": texts.labels[place],
        }
        for example, place in zip(examples, predicted, strict=True)
    ]


def most_frequent_class(measured: MeasurementCollector, texts: Texts) -> None:
    """Add the scores of a guesser that knows only how frequent each class of the split is."""
    classes = texts.sequences.classes
    assert classes is not None
    counts = np.bincount(classes, minlength=len(texts.labels))
    with np.errstate(divide="ignore"):
        logprobs = np.log(counts / counts.sum())
    _add(measured, texts, np.tile(logprobs, (len(classes), 1)), "most frequent class")


def _add(measured: MeasurementCollector, texts: Texts, logprobs: np.ndarray, head: str) -> None:
    """Add the scores of (n, classes) ``logprobs``."""
    classes = texts.sequences.classes
    assert classes is not None
    signature = f"split:{texts.split}|classes:{logprobs.shape[1]}|head:{head}"
    how = {"accuracy": "|mean", "macro_f1": "|mean over classes said or true", "loss": "|mean"}
    for kind, statistics in class_statistics(logprobs, classes).items():
        measured.add(f"{texts.split}.{kind}", statistics, signature + how[kind])
