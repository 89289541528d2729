"""How well a model does what it is tuned for: likelihood of the answers, and answers of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from harness.config import EvaluationConfig
from harness.evaluation.classification import classification
from harness.evaluation.generation import Decoding, generate, how_generated
from harness.evaluation.likelihood import by_example, n_labels, sequence_nll
from harness.evaluation.measured import Measured
from harness.evaluation.metrics import add_answers
from harness.evaluation.texts import Texts
from harness.models.classifier import has_class_head

if TYPE_CHECKING:
    from torch import nn


def quality(
    measured: Measured,
    model: nn.Module,
    tokenizer: Any,
    texts: Texts,
    config: EvaluationConfig,
    device: str,
) -> None:
    """Adds perplexity, bits per byte and the configured metrics of ``texts.split``.

    Of a classifier how well it tells texts apart, and of a base, which is none, nothing.
    """
    if texts.sequences.classes is not None:
        if has_class_head(model):
            classification(measured, model, texts, config.batch_size, device)
        return
    nll, _ = sequence_nll(model, texts.sequences, config.batch_size, device)
    about = f"split:{texts.split}|loss:labels|refs:first|weight:token"
    columns = by_example(texts.sequences, nll, n_labels(texts.sequences))
    measured.add(f"{texts.split}.perplexity", columns, about)
    columns = by_example(texts.sequences, nll, texts.sequences.label_bytes)
    measured.add(f"{texts.split}.bits_per_byte", columns, about)
    if not texts.prompts:
        return
    generated = generate(
        model,
        tokenizer,
        texts.prompts,
        max_new_tokens=config.max_new_tokens,
        num_beams=config.num_beams,
        batch_size=config.batch_size,
        device=device,
        decoding=replace(Decoding.of(config), stop=(*config.stop, *texts.stops)),
        ends=texts.ends,
    )
    measured.generation_tokens_per_second = generated.tokens_per_second
    references = [example.references for example in texts.examples]
    how = how_generated(texts.split, config)
    add_answers(measured, texts.split, generated.texts, references, config, how)
    measured.predictions = [
        {
            "split": texts.split,
            "prompt": example.prompt,
            "references": list(example.references),
            "output": text,
        }
        for example, text in zip(texts.examples, generated.texts, strict=True)
    ]
