"""Speed of generation of a tuned model: as it was trained, and merged."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from harness.errors import first_line, is_out_of_memory
from harness.evaluation.decoding import Decoding
from harness.evaluation.generation import generate
from harness.language import recorded
from harness.models.quantization import Quantization
from harness.records import Measurement, Outcome
from harness.statistics.measurements.definitions import unit_of
from harness.statistics.measurements.names import MERGED_SPEED, TRAINED_SPEED
from harness.terminal.phases import phase

if TYPE_CHECKING:
    from torch import nn

    from harness.afterwards.outcomes import Trained
    from harness.models.pool import ModelPool

PASSES = 3  # of which the fastest counts: what else the machine does only slows one down
ENOUGH = 1.0  # seconds of passes after which no other begins
LONGEST = 64  # generated tokens of an answer


@phase("measuring the speed of generation, merged and not")
def speeds(trained: Trained, pool: ModelPool, stored: Quantization | None) -> Outcome:
    """Answer the first batch of prompts with the model as trained, and merged where it can be.

    ``stored`` is the quantization of the base that it was trained beside. The merged model of a
    quantized base has other weights, at full precision: an export measures it. If memory runs out,
    nothing is measured.
    """
    try:
        return _speeds(trained, pool, stored)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        return Outcome(note=recorded("out of memory: {error}", error=first_line(error)))


def _speeds(trained: Trained, pool: ModelPool, stored: Quantization | None) -> Outcome:
    method, found = trained.method, dict[str, Measurement]()
    with pool.lend(trained.config.model, stored) as base:
        model = method.load(base.model, trained.adapter).eval()
        found[TRAINED_SPEED] = _speed(TRAINED_SPEED, trained, model)
        why = method.cannot_merge
        if why is None and not (trained.adapter / "adapter_config.json").exists():
            why = recorded("the whole model was trained: there is nothing to merge")
        elif why is None and stored is not None:
            why = recorded(
                "the base is quantized: harness export merged=true merges and measures it"
            )
        if why is None:
            found[MERGED_SPEED] = _speed(MERGED_SPEED, trained, method.merged(model).eval())
    return Outcome(found, note=why)


def _speed(name: str, trained: Trained, model: nn.Module) -> Measurement:
    """Measure tokens per second of the fastest pass over one batch of prompts."""
    texts, config = trained.texts, trained.config.evaluation
    prompts = texts.prompts[: config.batch_size]
    longest = min(texts.answers.tokens, LONGEST)
    rates: list[float] = []
    seconds = 0.0
    while len(rates) < PASSES and seconds < ENOUGH:
        answers = generate(
            model,
            trained.plan.tokenizer,
            prompts,
            max_new_tokens=longest,
            num_beams=config.num_beams,
            batch_size=config.batch_size,
            device=trained.plan.device,
            decoding=replace(Decoding.of(config), stop=(*config.stop, *texts.stops)),
            ends=texts.ends,
            look=False,
        )
        rates.append(answers.tokens_per_second)
        seconds += sum(map(len, answers.tokens)) / answers.tokens_per_second
    signature = (
        f"split:{texts.split}|one batch of {len(prompts)} prompts|max_new_tokens:{longest}"
        f"|beams:{config.num_beams}|fastest of {len(rates)} passes"
    )
    return Measurement(max(rates), unit_of(name), len(prompts), None, signature)
