"""Quality on the tuned task: likelihood of the references, and scores of generated answers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.config import EvaluationConfig
from harness.config.metrics import measured_as
from harness.evaluation.answers.configured import add_answers
from harness.evaluation.classification import classification, most_frequent_class
from harness.evaluation.collector import MeasurementCollector
from harness.evaluation.decoding import Decoding
from harness.evaluation.generation import generate, how_generated
from harness.evaluation.likelihood import by_example, n_labels, sequence_nll
from harness.evaluation.own_words import NotTheModels
from harness.evaluation.texts import Texts
from harness.models.classifier import has_class_head

if TYPE_CHECKING:
    from torch import nn


def quality(
    measured: MeasurementCollector,
    model: nn.Module,
    tokenizer: Any,
    texts: Texts,
    config: EvaluationConfig,
    device: str,
) -> None:
    """Add perplexity, bits per byte and the configured metrics of ``texts.split``.

    The metrics are missing if the generated answers are found not to be the model's own. A
    classifier gets accuracy, macro F1 and loss instead. Its base model has no class head, and gets
    those of the best constant answer, which a classifier must beat.
    """
    if texts.sequences.classes is not None:
        if has_class_head(model):
            classification(measured, model, texts, config.batch_size, device)
        else:
            most_frequent_class(measured, texts)
        return
    nll, _ = sequence_nll(model, texts.sequences, config.batch_size, device)
    signature = f"split:{texts.split}|loss:labels|refs:first|weight:token"
    columns = by_example(texts.sequences, nll, n_labels(texts.sequences))
    measured.add(f"{texts.split}.perplexity", columns, signature)
    columns = by_example(texts.sequences, nll, texts.sequences.label_bytes)
    measured.add(f"{texts.split}.bits_per_byte", columns, signature)
    if not texts.prompts:
        return
    try:
        generated = generate(
            model,
            tokenizer,
            texts.prompts,
            max_new_tokens=texts.answers.tokens,
            num_beams=config.num_beams,
            batch_size=config.batch_size,
            device=device,
            decoding=replace(Decoding.of(config), stop=(*config.stop, *texts.stops)),
            ends=texts.ends,
        )
    except NotTheModels as error:
        for metric in config.metrics:
            measured.miss(f"{texts.split}.{measured_as(metric)}", str(error))
        return
    measured.generation_tokens_per_second = generated.tokens_per_second
    measured.how_answered = how_generated(texts.split, texts.answers, config)
    references = [example.references for example in texts.examples]
    how = measured.how_answered
    add_answers(measured, texts.split, generated.texts, references, config, how)
    cut = np.array([[float(one)] for one in generated.unfinished])
    measured.add(f"{texts.split}.unfinished", cut, how.removeprefix("|"))
    measured.predictions = [
        {
            "split": texts.split,
            "prompt": example.prompt,
            "references": list(example.references),
            "output": text,
            "unfinished": unfinished,
        }
        for example, text, unfinished in zip(
            texts.examples, generated.texts, generated.unfinished, strict=True
        )
    ]
